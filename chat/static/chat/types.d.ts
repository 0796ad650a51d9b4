// Made by `make generate` from the structs that the server encodes and reads. Do not edit.

export type FrameErrorCode =
	/** The student has another mentor now: nothing can be sent, all can be read. */
	| "conversation_closed"
	/** An inbox takes no messages. */
	| "conversation_not_established"
	/** Nothing but white space; as in v1, a frame with neither `type` nor `message` is one, too. */
	| "empty_message"
	/** NUL or lone surrogates. */
	| "invalid_characters"
	/** No JSON object, an unknown type, or a field of the wrong type. */
	| "invalid_frame"
	/** No JSON. */
	| "invalid_json"
	/** No message of this conversation has that id. */
	| "message_not_found"
	/** More code points than the server takes. */
	| "message_too_long"
	/** Too much in too short a time: wait `retry_after` seconds. */
	| "rate_limited"
	/** Not known to be stored: repeat it with the same `client_id`. */
	| "temporarily_unavailable";

export type RestErrorCode =
	/** No such conversation, or somebody else's. */
	| "conversation_not_found"
	/** The student has no mentor now. */
	| "no_mentor"
	/** For teachers and trainers only. */
	| "not_a_mentor"
	/** Somebody else's conversation, or none. */
	| "not_a_participant"
	/** For students only. */
	| "not_a_student"
	/** Nobody is signed in. */
	| "not_authenticated"
	/** Too many open sockets of this user. */
	| "too_many_sockets";

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
}

/** The token for `X-CSRFToken`. */
export interface Csrf {
	csrfToken: string;
}

/** Why nobody could be signed in: what is wrong with a field, or `detail`. */
export interface LoginProblem {
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
}

/** Messages of a conversation, oldest first; `count` is how many were ever sent in it. */
export interface MessagePage {
	count: number;
	next: string | null;
	previous: string | null;
	results: Array<Message>;
}

/** A message to be sent over REST. */
export interface MessagePost {
	/** Not blank; without NUL and lone surrogates. Its length counts code points. */
	content: string;
	/** Made up by the sender; repeating it repeats the answer, never the message. */
	client_id?: string | null;
}

/** A conversation as one of its two participants sees it. */
export interface Conversation {
	id: number;
	student_profile: Profile;
	teacher_profile: Profile;
	created_at: string;
	updated_at: string;
	last_message: Message | null;
	unread_message_count_for_user: number;
	is_active: boolean;
}

/** Conversations of a mentor, newest activity first. */
export interface ConversationPage {
	count: number;
	next: string | null;
	previous: string | null;
	results: Array<Conversation>;
}

/** How many messages became read, in words. */
export interface Marked {
	detail: string;
}

/** What REST answers where something is wrong; `code` is there where a client may want to know which it was. */
export interface Problem {
	detail: string;
	code?: FrameErrorCode | RestErrorCode;
}

/** Why a message was not taken: what is wrong with a field of it. */
export interface MessageProblem {
	content?: Array<string>;
	client_id?: Array<string>;
	code?: FrameErrorCode;
}

/** Why there is no such page of a history: what is wrong with a parameter. */
export interface PageProblem {
	limit?: Array<string>;
	before?: Array<string>;
	after?: Array<string>;
	mark_read?: Array<string>;
	code?: FrameErrorCode;
}

/** A message to be sent on a socket; as in v1 it needs no `type`, and one that is not known is ignored. */
export interface SendMessage {
	/** Not blank; without NUL and lone surrogates. Its length counts code points. */
	message: string;
	/** Made up by the sender; repeating it repeats the answer, never the message. */
	client_id?: string | null;
}

/** Marks what the other side sent, up to and including the message `message_id`, as read; without one, all. */
export interface MarkRead {
	type: "mark_read";
	message_id?: number | string | null;
}

/** Tells the other side that one began to type or stopped. */
export interface SetTyping {
	type: "typing";
	is_typing: boolean;
}

/** Asks for a pong: browsers cannot send the ping of the WebSocket protocol. */
export interface Ping {
	type: "ping";
}

/** The first frame of a conversation's socket. */
export interface ConnectionEstablished {
	type: "connection_established";
	conversation_id: string;
	room_group_name: string;
}

/** A message, once per socket, in order; `client_id` goes to the sender's own sockets only. */
export interface NewMessage {
	type: "new_message";
	message: Message;
	client_id?: string;
}

/** Messages became read by the user `reader`. */
export interface UpdateMessageStatus {
	type: "update_message_status";
	message_ids: Array<number>;
	is_read: true;
	reader: number;
}

/** Ends the replay that `?after=` asked for. */
export interface ResumeComplete {
	type: "resume_complete";
	recovered: boolean;
	count: number;
	read_up_to: number | null;
}

/** The other side, the user `user`, began to type or stopped. */
export interface Typing {
	type: "typing";
	user: number;
	is_typing: boolean;
}

/**
 * The other side, the user `user`, came or went; on sockets opened with `?presence=1` only.
 *
 * `last_seen` is null for one who was never here.
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

/** The first frame of an inbox; `unread_total` counts what its user has not read in all their conversations. */
export interface InboxEstablished {
	type: "inbox_established";
	unread_total: number;
}

/** On an inbox: a conversation changed; this is its present state. */
export interface ConversationUpdate {
	type: "conversation_update";
	conversation: Conversation;
}

/** Every code that an error may have. */
export type ErrorCode = FrameErrorCode | RestErrorCode;

/** What a conversation's socket says. */
export type ConversationFrame =
	| ConnectionEstablished
	| NewMessage
	| UpdateMessageStatus
	| ResumeComplete
	| Typing
	| Presence
	| Pong
	| ErrorFrame;

/** What an inbox says. */
export type InboxFrame = InboxEstablished | ConversationUpdate | Presence | Pong | ErrorFrame;

/** What may be said on a conversation's socket. */
export type ConversationClientFrame = SendMessage | MarkRead | SetTyping | Ping;

/** What may be said on an inbox. */
export type InboxClientFrame = Ping;

/** Why the server closes a socket. */
export type CloseCode =
	/** A frame was over 64 KiB: do not repeat it. */
	| 1009
	/** The server failed: reconnect with `after`. */
	| 1011
	/** The server restarts: reconnect with `after`. */
	| 1012
	/** The client reads too slowly, or the database is away: reconnect later, with `after`. */
	| 1013
	/** Signed out, the session ran out, a new password, or a deactivated user: sign in. */
	| 4401
	/** No longer part of this conversation: ask REST for the present one. */
	| 4403
	/** The conversation is gone: ask REST for the present one. */
	| 4404
	/** More than 100 refused frames in 10 seconds, or too many sockets: wait. */
	| 4429;
