// Made by `make generate` from the structs that the server encodes and reads. Do not edit.

export type FrameErrorCode =
	/** This person is locked: they can read over REST, and nothing else. */
	| "account_locked"
	/** The student has another mentor now: the conversation can only be read. */
	| "conversation_closed"
	/** The platform's staff has locked the conversation: it can only be read. */
	| "conversation_locked"
	/** Only pings can be sent on an inbox. */
	| "conversation_not_established"
	/** Only white space. As in v1, a frame with neither `type` nor `message` counts as empty. */
	| "empty_message"
	/** The text contains NUL or lone surrogates. */
	| "invalid_characters"
	/** Not a JSON object, an unknown frame type, or a field of the wrong type. */
	| "invalid_frame"
	/** Not valid JSON. */
	| "invalid_json"
	/** No message of this conversation has that id. */
	| "message_not_found"
	/** More code points than the server accepts. */
	| "message_too_long"
	/** Too many messages, frames, requests or handshakes: wait `retry_after` seconds. */
	| "rate_limited"
	/** The message may not have been stored: repeat it with the same `client_id`. */
	| "temporarily_unavailable";

export type RestErrorCode =
	/** There is no such conversation of this user. */
	| "conversation_not_found"
	/** The CSRF token is missing or wrong, or the page's origin is not ours: fetch a new token. */
	| "csrf_failed"
	/** No push may be sent to this address: it is none of the browsers' services. */
	| "endpoint_not_allowed"
	/** The server failed. */
	| "internal_error"
	/** The keys of the subscription are missing or wrong. */
	| "invalid_keys"
	/** A query parameter has a wrong value, contradicts another one, or is given twice. */
	| "invalid_parameter"
	/** The request is malformed, has too many parameters, or lacks a field. */
	| "invalid_request"
	/** This path has no such method. */
	| "method_not_allowed"
	/** The student has no mentor now. */
	| "no_mentor"
	/** The user has no profile that could hold this. */
	| "no_profile"
	/** For teachers and trainers only. */
	| "not_a_mentor"
	/** The user is no participant of this conversation, or has no conversations. */
	| "not_a_participant"
	/** For students only. */
	| "not_a_student"
	/** The `Accept` header or `format` excludes every form of the answer. */
	| "not_acceptable"
	/** Nobody is signed in. */
	| "not_authenticated"
	/** There is nothing at this path. */
	| "not_found"
	/** Only what the other side wrote can be reported. */
	| "own_message"
	/** The list has no such page. */
	| "page_not_found"
	/** The server has no key for Web Push. */
	| "push_not_configured"
	/** The reason of a report has more than 1,000 code points. */
	| "reason_too_long"
	/** Too many open sockets of this user. */
	| "too_many_sockets"
	/** The body is neither JSON nor a form. */
	| "unsupported_media_type"
	/** Wrong user name or password. */
	| "wrong_credentials";

/** A person as others see them; `user_id` is the profile's id, a name that clients of v1 know. */
export interface Profile {
	user_id: number;
	full_name: string;
	username: string;
	email: string;
	role: "STUDENT" | "TEACHER" | "TRAINER" | "ADMIN";
}

/** The signed-in user: `id` is the user's; `profile` is null for one without, `mentor` for one who has none now. */
export interface Me {
	id: number;
	username: string;
	email: string;
	profile: Profile | null;
	mentor: Profile | null;
	is_locked: boolean;
	language: "ar" | "en" | null;
	notify_push: boolean;
	notify_email: boolean;
}

/** What people may change about themselves; what is not given stays. `language`: null for the browser's. */
export interface MeChanges {
	language?: "ar" | "en" | null;
	notify_push?: boolean;
	notify_email?: boolean;
}

/** The token for `X-CSRFToken`. */
export interface Csrf {
	csrfToken: string;
}

/** Why nobody could be signed in: what is wrong with a field, or `detail`. */
export interface LoginProblem {
	code: "invalid_json" | "invalid_request" | "wrong_credentials";
	detail?: string;
	username?: Array<string>;
	password?: Array<string>;
	non_field_errors?: Array<string>;
}

/** A message as one reader sees it; the same object over REST and in `new_message`. */
export interface Message {
	id: number;
	sender: number;
	sender_profile: Profile | null;
	content: string;
	timestamp: string;
	is_read: boolean;
	is_own_message: boolean;
	is_erased: boolean;
}

/** Messages of a conversation, oldest first; `count` is the number of messages ever sent in it. */
export interface MessagePage {
	count: number;
	next: string | null;
	previous: string | null;
	results: Array<Message>;
}

/** A message that is sent over REST. */
export interface MessagePost {
	/** Must not be blank or contain NUL or lone surrogates. The length is counted in code points. */
	content: string;
	/** Chosen by the sender. A repeat is answered again, but stored only once. */
	client_id?: string | null;
}

/**
 * A conversation as one of its two participants sees it.
 *
 * `waiting_since` is the time of the student's first message after the mentor's last one; null when nobody
 * waits, or
 * nobody could answer.
 */
export interface Conversation {
	id: number;
	student_profile: Profile;
	teacher_profile: Profile;
	created_at: string;
	updated_at: string;
	last_message: Message | null;
	unread_message_count_for_user: number;
	is_active: boolean;
	is_locked: boolean;
	waiting_since: string | null;
}

/** Conversations of a mentor. */
export interface ConversationPage {
	count: number;
	next: string | null;
	previous: string | null;
	results: Array<Conversation>;
}

/** A sentence that says how many messages became read. */
export interface Marked {
	detail: string;
}

/** A report of a message. */
export interface ReportPost {
	/** Why, for the staff alone; at most 1,000 code points. */
	reason?: string | null;
}

/** A report of the message with the id `message`, as the person sees it who made it. */
export interface Report {
	id: number;
	message: number;
	state: "closed" | "handling" | "open";
	created_at: string;
}

/** What a mentor was told about a student when they were assigned; an empty text and null if nothing. */
export interface HandoffNote {
	text: string;
	created_at: string | null;
}

/** An error over REST. */
export interface Problem {
	detail: string;
	code: FrameErrorCode | RestErrorCode;
}

/** Why a message was refused: the errors by field. */
export interface MessageProblem {
	code: FrameErrorCode;
	content?: Array<string>;
	client_id?: Array<string>;
}

/** Why a page was refused: the error by query parameter. */
export interface PageProblem {
	code: FrameErrorCode | RestErrorCode;
	page?: Array<string>;
	page_size?: Array<string>;
	limit?: Array<string>;
	before?: Array<string>;
	after?: Array<string>;
	mark_read?: Array<string>;
	ordering?: Array<string>;
	waiting?: Array<string>;
}

/** Why a report was refused: the error of its reason. */
export interface ReportProblem {
	code: FrameErrorCode | RestErrorCode;
	reason: Array<string>;
}

/** The key that `PushManager.subscribe` takes as `applicationServerKey`, in base64url. */
export interface PushKey {
	public_key: string;
}

/** A browser's `PushSubscription` as JSON; other keys are ignored. */
export interface PushSubscriptionPost {
	endpoint: string;
	keys: SubscriptionKeys;
}

/** What payloads for a browser are encrypted with, in base64url. */
export interface SubscriptionKeys {
	p256dh: string;
	auth: string;
}

/** Which subscription it is. */
export interface SubscriptionEndpoint {
	endpoint: string;
}

/** A message that is sent on a socket. As in v1 it needs no `type`, and an unknown `type` is ignored. */
export interface SendMessage {
	/** Must not be blank or contain NUL or lone surrogates. The length is counted in code points. */
	message: string;
	/** Chosen by the sender. A repeat is answered again, but stored only once. */
	client_id?: string | null;
}

/** Marks the other participant's messages up to and including `message_id` as read; without it, all of them. */
export interface MarkRead {
	type: "mark_read";
	message_id?: number | string | null;
}

/** Tells the other participant that this one began or stopped typing. */
export interface SetTyping {
	type: "typing";
	is_typing: boolean;
}

/** Requests a pong. Browsers cannot send the ping of the WebSocket protocol. */
export interface Ping {
	type: "ping";
}

/** The first frame of a conversation's socket. */
export interface ConnectionEstablished {
	type: "connection_established";
	conversation_id: string;
	room_group_name: string;
}

/**
 * Whether the mentor is still assigned, and whether the conversation is locked; only with `?events=1`.
 *
 * Sent directly after the first frame, and at each change.
 */
export interface ConversationState {
	type: "conversation_state";
	is_active: boolean;
	is_locked: boolean;
}

/** A message. Each is sent once per socket, in order; only the sender's own sockets receive `client_id`. */
export interface NewMessage {
	type: "new_message";
	message: Message;
	client_id?: string;
}

/** The user `reader` has read these messages. */
export interface UpdateMessageStatus {
	type: "update_message_status";
	message_ids: Array<number>;
	is_read: true;
	reader: number;
}

/** The texts of these messages are gone, with their sender's name; only on sockets opened with `?events=1`. */
export interface MessagesErased {
	type: "messages_erased";
	message_ids: Array<number>;
}

/** Ends the replay that `?after=` requested. */
export interface ResumeComplete {
	type: "resume_complete";
	recovered: boolean;
	count: number;
	read_up_to: number | null;
}

/** The other participant, the user `user`, began or stopped typing. */
export interface Typing {
	type: "typing";
	user: number;
	is_typing: boolean;
}

/**
 * The other participant, the user `user`, came online or went offline; only on sockets opened with
 * `?presence=1`.
 *
 * `last_seen` is null for users who have never connected.
 */
export interface Presence {
	type: "presence";
	user: number;
	is_online: boolean;
	last_seen: string | null;
}

/** Answers a ping. */
export interface Pong {
	type: "pong";
}

/** An error on a socket that stays open. */
export interface ErrorFrame {
	error: string;
	code: FrameErrorCode;
	retry_after?: number;
}

/** The first frame of an inbox; `unread_total` counts the user's unread messages in all their conversations. */
export interface InboxEstablished {
	type: "inbox_established";
	unread_total: number;
}

/** A conversation of this inbox changed; this is its present state. */
export interface ConversationUpdate {
	type: "conversation_update";
	conversation: Conversation;
}

/** Every code that an error may have. */
export type ErrorCode = FrameErrorCode | RestErrorCode;

/** Frames that the server sends on a conversation's socket. */
export type ConversationFrame =
	| ConnectionEstablished
	| ConversationState
	| NewMessage
	| UpdateMessageStatus
	| MessagesErased
	| ResumeComplete
	| Typing
	| Presence
	| Pong
	| ErrorFrame;

/** Frames that the server sends on an inbox. */
export type InboxFrame = InboxEstablished | ConversationUpdate | Presence | Pong | ErrorFrame;

/** Frames that a client may send on a conversation's socket. */
export type ConversationClientFrame = SendMessage | MarkRead | SetTyping | Ping;

/** Frames that a client may send on an inbox. */
export type InboxClientFrame = Ping;

/** Why the server closes a socket. */
export type CloseCode =
	/** A frame was larger than 64 KiB: do not repeat it. */
	| 1009
	/** The server failed: reconnect with `after`. */
	| 1011
	/** The server restarts: reconnect with `after`. */
	| 1012
	/** The client reads too slowly, or the database is unreachable: reconnect later with `after`. */
	| 1013
	/** Signed out, session expired, password changed, or user deactivated: sign in. */
	| 4401
	/** The user may not use this socket any more: ask REST for the present conversation. */
	| 4403
	/** The conversation does not exist: ask REST for the present one. */
	| 4404
	/** More than 100 refused frames in 10 seconds, too many sockets or too many handshakes: wait. */
	| 4429;
