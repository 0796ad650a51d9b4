/**
 * The chat's client, for browsers of the last three years and for Node. The wire itself is described in `/api/docs/`
 * and `/api/asyncapi.yaml`.
 *
 * ```js
 * import { createApi, createChat } from "./client.js";
 *
 * const user = await createApi().login("student1", "...");
 * const chat = createChat({ user }); // a student's; a mentor's: createChat({ user, conversationId: 7 })
 * chat.subscribe(() => render(chat.getSnapshot()));
 * chat.open();
 * chat.send("Hello");
 * ```
 *
 * React: see `use-chat.d.ts`.
 *
 * What it does by itself:
 *
 * * **Connecting.** REST is asked who talks with whom, unless both are given, then the socket is opened, then the history
 *   fetched; what is said meanwhile comes after it. A lost connection is tried again after a random time of up to 0.5 s,
 *   1 s, 2 s ... 30 s, at once when the browser is online again or the page is looked at, and resumed behind the last
 *   message. Where more was missed than the server replays, the newest page replaces the list. A refused handshake is
 *   looked into over REST; signed out, it does not try again.
 * * **Dead connections.** After 25 s without a frame it pings; nothing within 10 s (4 s for somebody who just came back to
 *   the page), or no answer to a send within 10 s, and it connects anew.
 * * **Sending.** One message is under way at a time, the others wait behind it: an error frame does not say which message
 *   it is about, and what has to wait for the rate limit must not be overtaken. A refusal for good is the message's that
 *   is under way; after a passing error (`rate_limited`, `temporarily_unavailable`), which may as well be about a
 *   `mark_read`, it is repeated under the same `client_id`, which the server stores once, whatever happens.
 * * **The outbox** keeps what is not acknowledged in `localStorage`, an item for each message, by user and conversation.
 *   Other tabs show it, too, and send it if this one has not been able to within 10 s. A message for a mentor who was
 *   changed meanwhile fails with `"conversation_closed"`.
 * * **Reading.** Neither connecting nor fetching marks anything as read; only `markVisible` does.
 */

import type { Conversation, ErrorCode, FrameErrorCode, Me, Message, Presence } from "./types.js";

export type { Conversation, Me, Message, Presence, Profile } from "./types.js";

// ---------------------------------------------------------------------------------------------------------- REST

/** Signing in and out, and anything else under `/api/v1/`. Every call rejects with an `ApiError`. */
export interface Api {
	/** Who is signed in; 401 for nobody. */
	me(): Promise<Me>;
	/** Sign in; `username` may be an e-mail address. 400 for wrong credentials, 429 after too many tries. */
	login(username: string, password: string): Promise<Me>;
	/** End the session, and with it its sockets, in every tab. */
	logout(): Promise<void>;
	/** `path` is relative to `/api/v1/`: `get("chat/teacher/conversations/")`. */
	get<Answer = unknown>(path: string): Promise<Answer>;
	/** Fetches the CSRF token, then posts `body` as JSON. */
	post<Answer = unknown>(path: string, body?: unknown): Promise<Answer>;
}

export function createApi(options?: Options): Api;

/** An answer that was no success, or none at all. `message` is English; translate by `status` and `code`. */
export class ApiError extends Error {
	/** The HTTP status; 0 where the server could not be reached. */
	readonly status: number;
	/** Where there is one, e.g. `"rate_limited"`. */
	readonly code: ErrorCode | null;
	/** Seconds to wait, where the server said so. */
	readonly retryAfter: number | null;
}

// ------------------------------------------------------------------------------------------------- what is shown

/**
 * * `"connecting"`: on the way, or not opened yet; what is shown may be old.
 * * `"open"`: what is shown is complete, and stays so.
 * * `"waiting"`: the connection was lost; the next try is at `retryAt`.
 * * `"stopped"`: not connected, and trying again would not help; `open()` tries all the same.
 */
export type Status = "connecting" | "open" | "waiting" | "stopped";

/**
 * Why it is not open. Stopped: `"signed_out"`, `"no_mentor"` (a student without one), `"not_allowed"` (not this user's
 * conversation) and `"closed"` (by `close()`). Waiting: `"unavailable"` (the network or the server) and `"too_many"` (most
 * likely too many sockets, or too many frames).
 */
export type Reason = "signed_out" | "no_mentor" | "not_allowed" | "closed" | "unavailable" | "too_many";

/** Common to both stores. A snapshot never changes: each change makes a new one. */
export interface ConnectionSnapshot {
	readonly status: Status;
	/** Null while it is open, and before anything went wrong. */
	readonly reason: Reason | null;
	/** When the next try is, in milliseconds since 1970; null unless waiting. */
	readonly retryAt: number | null;
	/** Whether what is shown has been fetched at least once: until then, an empty list means nothing. */
	readonly isLoaded: boolean;
	readonly user: Me | null;
}

/**
 * * `"sending"`: not acknowledged yet; it is repeated until it is, also after a reload. `id` is null.
 * * `"failed"`: refused for good, see `error`; `retry` or `discard` it. `id` is null.
 * * `"sent"`, `"read"`: one's own, stored; read by the other side.
 * * `"received"`: the other side's; `is_read` tells whether this user has read it.
 */
export type MessageState = "sending" | "failed" | "sent" | "read" | "received";

/** Why a message failed: a code of the contract. */
export type SendError = Extract<
	FrameErrorCode,
	"empty_message" | "message_too_long" | "invalid_characters" | "conversation_closed"
>;

/** A message as it is to be shown. One of the server's is the same object in the next snapshot, unless it has changed. */
export interface ChatMessage extends Omit<Message, "id"> {
	readonly id: number | null;
	/** Stays the same from `"sending"` to `"read"`: the key of a list's item. */
	readonly key: string;
	readonly state: MessageState;
	/** What it was sent under; null for the other side's, and for one's own that came with the history. */
	readonly clientId: string | null;
	/** Why it failed. */
	readonly error: SendError | null;
}

export interface ChatSnapshot extends ConnectionSnapshot {
	/** Null until known. `is_active` is kept up to date; `last_message` and the unread count are not. */
	readonly conversation: Conversation | null;
	/** Oldest first, without a gap; what is not acknowledged comes last. */
	readonly messages: readonly ChatMessage[];
	/** Whether there is something before the first of them, see `loadOlder`. */
	readonly hasOlder: boolean;
	readonly isLoadingOlder: boolean;
	/** Whether the other side is typing. */
	readonly typing: boolean;
	/** Whether the other side is there; null while not known. */
	readonly presence: Presence | null;
	/** Why sending waits, although there is a connection; it goes on by itself. */
	readonly delay: "rate_limited" | "temporarily_unavailable" | null;
}

export interface InboxSnapshot extends ConnectionSnapshot {
	/** Newest activity first. */
	readonly conversations: readonly Conversation[];
	/** Messages that this user has not read, in all of them. */
	readonly unreadTotal: number;
}

// -------------------------------------------------------------------------------------------------------- stores

/** What `useSyncExternalStore` takes. */
export interface Store<Snapshot> {
	/** Call `listener` after each change; returns what ends that. */
	subscribe(listener: () => void): () => void;
	/** What is to be shown now; the same object until something changes. */
	getSnapshot(): Snapshot;
	/** Connect, and stay connected; does nothing where it is already. A closed one can be opened again. */
	open(): void;
	/** Disconnect. What was not acknowledged is kept for the next time. */
	close(): void;
}

/** One conversation. All functions may be passed around without their object. */
export interface Chat extends Store<ChatSnapshot> {
	/**
	 * Show and send a message, now or as soon as there is a connection. The text is sent as it is, not trimmed. Returns its
	 * `clientId`; null for nothing but white space, which is not sent.
	 */
	send(text: string): string | null;
	/** Send a failed message again, behind all others. */
	retry(clientId: string): void;
	/** Forget a failed message. */
	discard(clientId: string): void;
	/** Fetch the page before the first message; does nothing while it is on its way. Rejects with an `ApiError`. */
	loadOlder(): Promise<void>;
	/** Call on each key with whether there is text; the other side is told sparingly. `send` ends it by itself. */
	setTyping(isTyping: boolean): void;
	/**
	 * Say that this message was on the screen, e.g. from an IntersectionObserver: it and those before it become read,
	 * as soon as the page is visible. Call it as often as you like.
	 */
	markVisible(messageId: number | null): void;
}

/** All conversations of a user: a mentor's students, a student's mentor. */
export type Inbox = Store<InboxSnapshot>;

/** Nothing happens before `open()`, so it may be created while a server renders. */
export function createChat(options?: ChatOptions): Chat;
export function createInbox(options?: Options & Known): Inbox;

// ------------------------------------------------------------------------------------------------------- options

export interface ChatOptions extends Options, Known {
	/** The mentor's: which conversation. Leave it out for a student, who has one. */
	conversationId?: number | undefined;
	/** Where it is known already, e.g. from the inbox: spares a request. */
	conversation?: Conversation | undefined;
	/** Whether the other side's coming and going is to be told; true unless said otherwise. */
	presence?: boolean | undefined;
}

export interface Known {
	/** Where it is known already, from `me()` or `login()`: spares a request. */
	user?: Me | undefined;
}

/** Where the backend is, and what takes the place of the browser's own in tests and in Node. */
export interface Options {
	/** Before `/api/v1/`: empty for the page's own origin (the default), or `https://chat.example.org`. */
	baseUrl?: string | undefined;
	/** The origin before `/ws/chat/`, `http(s)` or `ws(s)`; by default `baseUrl`'s, or the page's. */
	socketUrl?: string | undefined;
	/** As browsers and Node 22 have it; for Node 20 that of the package `ws` will do. */
	WebSocket?: new (
		url: string,
	) => SocketLike;
	fetch?: (url: string, init: RequestInit) => Promise<Response>;
	/** Where the outbox is kept; `localStorage`. One that throws, or null, keeps it in memory. */
	storage?: Pick<Storage, "length" | "key" | "getItem" | "setItem" | "removeItem"> | null;
	/** Tells of `online` and `storage`; null for none. */
	window?: EventTarget | null;
	/** Tells of `visibilitychange`; null for none, which counts as visible. */
	document?: (EventTarget & { readonly visibilityState: string }) | null;
}

/** What the client uses of a WebSocket. */
export interface SocketLike {
	readonly readyState: number;
	onopen: ((event: never) => void) | null;
	onmessage: ((event: never) => void) | null;
	onclose: ((event: never) => void) | null;
	onerror: ((event: never) => void) | null;
	send(text: string): void;
	close(code?: number): void;
}
