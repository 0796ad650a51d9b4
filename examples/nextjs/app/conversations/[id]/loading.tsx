/** Shown while another conversation is being rendered: the boundary above is already open then. */
export { default } from "@/app/loading";
