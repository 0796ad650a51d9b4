import type { ApiError, ConnectionSnapshot, Reason, SendError } from "./qader/client";

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

export const sendErrorInWords = (error: SendError): string => `Not sent. ${sendErrors[error]}`;

export function signInErrorInWords({ status, code, retryAfter }: ApiError): string {
	if (status === 400) return "Wrong name or password.";
	if (status === 429) return `Too many tries. Try again in ${retryAfter ?? 60} seconds.`;
	if (code === "csrf_failed") return "The chat does not know this page's address.";
	return "The chat cannot be reached. Try again.";
}
