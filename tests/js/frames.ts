/** Uses the types of all frames. `tsc --strict` compiles it; it never runs. */

import type {
	CloseCode,
	Conversation,
	ConversationClientFrame,
	ConversationFrame,
	ErrorCode,
	InboxClientFrame,
	InboxFrame,
} from "../../chat/static/chat/types.js";

export function hear(frame: ConversationFrame): string | number {
	if ("error" in frame) return frame.code === "rate_limited" ? (frame.retry_after ?? 0) : frame.error;
	switch (frame.type) {
		case "new_message":
			return `${frame.client_id ?? ""} ${frame.message.sender_profile?.full_name}: ${frame.message.content}`;
		case "update_message_status":
			return Math.max(...frame.message_ids);
		default:
			// @ts-expect-error only a new message has one
			return frame.message;
	}
}

export const unread = (frame: InboxFrame): number | Conversation | null => {
	if ("error" in frame || frame.type === "pong" || frame.type === "presence") return null;
	return frame.type === "inbox_established" ? frame.unread_total : frame.conversation;
};

export const said: ConversationClientFrame[] = [
	{ message: "text" },
	{ message: "text", client_id: "1" },
	{ type: "mark_read" },
	{ type: "mark_read", message_id: "101" },
	{ type: "typing", is_typing: true },
	{ type: "ping" },
	// @ts-expect-error `is_typing` is required
	{ type: "typing" },
	// @ts-expect-error no such frame
	{ type: "delete", message_id: 1 },
];

// @ts-expect-error an inbox takes no messages
export const posted: InboxClientFrame = { message: "text" };

export const words: Partial<Record<ErrorCode, string>> = { conversation_closed: "", not_a_mentor: "" };
export const codes: CloseCode[] = [1012, 4401];
// @ts-expect-error no such code
codes.push(4999);
