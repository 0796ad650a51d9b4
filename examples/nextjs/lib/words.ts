import type { ApiError, ChatSnapshot, ConnectionSnapshot, Conversation, Me, Reason, SendError } from "./qader/client";

/** The texts that users read. Those of the backend are English and are not shown. */

const reasons: Record<Reason, string> = {
	signed_out: "You are signed out.",
	no_mentor: "You have no mentor yet.",
	not_allowed: "This conversation is not yours.",
	closed: "Not connected.",
	offline: "You are offline.",
	unavailable: "The server cannot be reached.",
	too_many: "There were too many requests.",
	blocked: "Live updates do not get through here: messages come every few seconds.",
};

const sendErrors: Record<SendError, string> = {
	empty_message: "There is nothing in it.",
	message_too_long: "It is too long.",
	invalid_characters: "It has characters that cannot be sent.",
	account_locked: "Your account is locked.",
	conversation_closed: "This conversation has ended.",
	conversation_locked: "This conversation is locked.",
};

export function connectionInWords({ status, reason }: ConnectionSnapshot): string {
	if (status === "open") return "Connected";
	if (status === "stopped" || status === "polling") return reasons[reason ?? "closed"];
	return reason ? `${reasons[reason]} Connecting…` : "Connecting…";
}

/** Why nothing can be written; an empty text if something can. */
export function closedInWords(user: Me, conversation: Conversation | null): string {
	if (user.is_locked) return "Your account is locked: you can read, and not write.";
	if (conversation?.is_active === false) return "This conversation has ended: it can be read, and not be written to.";
	return conversation?.is_locked ? "This conversation is locked: it can be read, and not be written to." : "";
}

/** What there is to say about messages that are not sent yet. */
export function sendingInWords({ isKept, delay }: ChatSnapshot): string {
	if (!isKept) return "Your browser cannot keep what is not sent yet. Leave this page open.";
	return delay ? "Sending goes on in a moment." : "";
}

export const sendErrorInWords = (error: SendError): string => `Not sent. ${sendErrors[error]}`;

export function signInErrorInWords({ status, code, retryAfter }: ApiError): string {
	if (status === 400) return "Wrong name or password.";
	if (status === 429) return `Too many tries. Try again in ${retryAfter ?? 60} seconds.`;
	if (code === "csrf_failed") return "The chat does not know this page's address.";
	return "The chat cannot be reached. Try again.";
}
