/** Shown beside the list until the conversation is there. */
export { default } from "@/app/loading";
