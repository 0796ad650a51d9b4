/**
 * The chat's client, for browsers from iOS 15.4, Chrome 109 and Firefox 115 on, and for Node. `/api/docs/` and
 * `/api/asyncapi.yaml` describe the protocol.
 *
 * ```js
 * import { createApi, createChat } from "./client.js";
 *
 * const user = await createApi().login("student1", "...");
 * const chat = createChat({ user }); // for a student; for a mentor: createChat({ user, conversationId: 7 })
 * chat.subscribe(() => render(chat.getSnapshot()));
 * chat.open();
 * chat.send("Hello");
 * ```
 *
 * React: see `use-chat.d.ts`.
 *
 * What it does by itself:
 *
 * * **Connecting.** It asks REST for the user and the conversation, unless both are given, opens the socket, and
 *   fetches the history. Messages that come meanwhile are shown after it. After a lost connection it waits a random
 *   time of up to 0.5 s, 1 s, 2 s ... 30 s, or until the browser is online again or the page becomes visible, and
 *   resumes after the last message. If more was missed than the server replays, the newest page replaces the list.
 *   Once signed out, it does not try again.
 * * **Without WebSockets.** If a socket is refused, or has not said anything after 1.5 s, the client asks REST whether
 *   this user may connect. If so, REST stands in: the client fetches the history at once and news every 2 s to 20 s,
 *   sends and marks over REST, and goes on trying to open a socket. The first socket that works takes over. A wrong
 *   set-up is named in the console, with the setting.
 * * **Dead connections.** After 25 s without a frame it sends a ping. Without a frame within 10 s (4 s after a return
 *   to the page), or without an answer to a send within 10 s, it reconnects. A request may take any time while bytes
 *   come; after 15 s of silence it has failed, and the next page of the history is half as large (50 to 5 messages).
 * * **Faults of others.** A listener that throws is reported (`reportError`, otherwise `console.error`) and stops
 *   nothing: listeners are called when the client's own work is done. A frame or message that makes no sense is left
 *   out.
 * * **Sending.** One message is sent at a time, and the others wait for its answer: an error frame does not name its
 *   message, and nothing may overtake a message that waits for the rate limit. A refusal is about the message that was
 *   sent last. After a temporary error (`rate_limited`, `temporarily_unavailable`) the client repeats the message,
 *   since it cannot tell whether the error was about that or a `mark_read`. A repeat has the same `client_id`: the
 *   server stores it only once.
 * * **The outbox** keeps unacknowledged messages in `localStorage`, one item each, by user and conversation, from the
 *   moment of `send`. Other tabs show them, too, and send them if this tab has not done so within 10 s. A connected
 *   inbox sends those of conversations without an open chat. If the student gets another mentor meanwhile, they fail
 *   with `"conversation_closed"`. A sign-out removes them, and so does the sign-in of another user. Before the client
 *   knows the user, a text belongs to whoever that turns out to be: pass `user` if it is known.
 * * **Shown once.** REST does not say which `client_id` a message has. A text that may have come with the history is
 *   therefore not shown a second time as `"sending"` while its repeat is not answered.
 * * **Reading.** Neither connecting nor fetching marks anything as read; only `markVisible` does.
 */

import type { Conversation, ErrorCode, FrameErrorCode, HandoffNote, Me, Message, Presence, Report } from "./types.js";

export type { Conversation, HandoffNote, Me, Message, Presence, Profile, Report } from "./types.js";

// ---------------------------------------------------------------------------------------------------------- REST

/** Sign in and out, and call anything else under `/api/v1/`. A failed call rejects with an `ApiError`. */
export interface Api {
	/** The user who is signed in; 401 if nobody is. */
	me(): Promise<Me>;
	/**
	 * Sign in; `username` may be an e-mail address. 400 for wrong credentials, 429 after too many tries. Like each
	 * connection, it removes the texts of other users from this browser: items named `qader-<what>:<user id>:<...>`.
	 */
	login(username: string, password: string): Promise<Me>;
	/**
	 * End the session and its sockets, in every tab, and remove all texts from this browser; see `listUnsent`. If it
	 * rejects, the user is still signed in, as far as can be known, and the texts are still there.
	 */
	logout(): Promise<void>;
	/** `path` is relative to `/api/v1/`: `get("chat/teacher/conversations/")`. */
	get<Answer = unknown>(path: string): Promise<Answer>;
	/** Fetches the CSRF token, then posts `body` as JSON. */
	post<Answer = unknown>(path: string, body?: unknown): Promise<Answer>;
	/** As `post`, with another method: `send("PATCH", "auth/me/", { notify_email: false })`. */
	send<Answer = unknown>(method: string, path: string, body?: unknown): Promise<Answer>;
}

export function createApi(options?: Options): Api;

/**
 * The present time by the server's clock, in milliseconds since 1970, as of the last answer of REST; before the first one,
 * by this device's. Measure from it how long ago a time of the server was: a phone's clock may be hours off.
 */
export function serverNow(): number;

/** A message of the outbox. */
export interface Unsent {
	/** 0 if a student wrote it before the conversation was known. */
	readonly conversationId: number;
	readonly clientId: string;
	readonly content: string;
	/** When it was written, in milliseconds since 1970. */
	readonly at: number;
}

/** The messages in this browser that `logout` would lose, oldest first: show them before. */
export function listUnsent(user: Me, options?: Options): Unsent[];

/**
 * The name of a conversation's draft in `localStorage`. Drafts under this name are removed by a sign-out and by the
 * sign-in of another user, and inboxes tell which conversations have one.
 */
export function draftKey(user: Me, conversationId: number | string): string;

/** The draft, or an empty text. */
export function readDraft(key: string, options?: Options): string;

/** Keep a draft, or remove it if the text is empty. Returns whether that worked: a storage may be full or forbidden. */
export function keepDraft(key: string, text: string, options?: Options): boolean;

/** A failed request. `message` is English; translate by `status` and `code`. */
export class ApiError extends Error {
	/** The HTTP status; 0 if the server could not be reached. */
	readonly status: number;
	/** The error code if there is one, e.g. `"rate_limited"`. */
	readonly code: ErrorCode | null;
	/** Seconds to wait, if the server gave them. */
	readonly retryAfter: number | null;
}

// ----------------------------------------------------------------------------------------------------- snapshots

/**
 * * `"connecting"`: the connection is being made, or `open()` was not called yet; the snapshot may be old.
 * * `"open"`: the snapshot is complete and kept up to date.
 * * `"polling"`: there is no WebSocket, and REST stands in. The snapshot is up to date to within 20 s, messages are
 *   sent, typing and presence are unknown; the next try to open a socket is at `retryAt`.
 * * `"waiting"`: there is no connection; the next try is at `retryAt`.
 * * `"stopped"`: not connected, and the client will not try again by itself; `open()` tries again.
 */
export type Status = "connecting" | "open" | "polling" | "waiting" | "stopped";

/**
 * Why it is not open. It is told as soon as it is known: within 2 s, except that a connection which dies silently is
 * noticed by the next ping.
 *
 * * When stopped: `"signed_out"`, `"no_mentor"` (a student without one), `"not_allowed"` (not this user's conversation)
 *   and `"closed"` (by `close()`).
 * * When waiting: `"offline"` (the browser says so), `"unavailable"` (the server cannot be reached or cannot answer) and
 *   `"too_many"` (the server said: too many requests or frames).
 * * When polling: `"blocked"`. WebSockets do not get through although requests do. Something on the way blocks them, such
 *   as a school's firewall, or the server refuses them, such as the 21st of a user: browsers do not tell which.
 */
export type Reason =
	| "signed_out"
	| "no_mentor"
	| "not_allowed"
	| "closed"
	| "offline"
	| "unavailable"
	| "too_many"
	| "blocked";

/** The part that both stores share. A snapshot never changes: each change makes a new one. */
export interface ConnectionSnapshot {
	readonly status: Status;
	/** Null while it is open, and before the first failure. */
	readonly reason: Reason | null;
	/** The time of the next try to open a socket, in milliseconds since 1970; null while it is open or being opened. */
	readonly retryAt: number | null;
	/** Whether the list was fetched at least once. Until then, an empty list means nothing. */
	readonly isLoaded: boolean;
	readonly user: Me | null;
}

/**
 * * `"sending"`: not acknowledged yet. It is repeated until it is, also after a reload. `id` is null.
 * * `"failed"`: refused, see `error`; `retry` or `discard` it. `id` is null.
 * * `"sent"`: the user's own, stored. `"read"`: also read by the other participant.
 * * `"received"`: from the other participant; `is_read` tells whether this user has read it.
 */
export type MessageState = "sending" | "failed" | "sent" | "read" | "received";

/** Why a message failed. */
export type SendError = Extract<
	FrameErrorCode,
	| "empty_message"
	| "message_too_long"
	| "invalid_characters"
	| "account_locked"
	| "conversation_closed"
	| "conversation_locked"
>;

/** A message to show. A stored one is the same object in the next snapshot, unless it has changed. */
export interface ChatMessage extends Omit<Message, "id"> {
	readonly id: number | null;
	/** Stays the same from `"sending"` to `"read"`: use it as the key of a list item. */
	readonly key: string;
	readonly state: MessageState;
	/** The `client_id` it was sent with; null for received messages and for those that came with the history. */
	readonly clientId: string | null;
	/** Why it failed. */
	readonly error: SendError | null;
}

export interface ChatSnapshot extends ConnectionSnapshot {
	/**
	 * Null until known. `is_active` and `is_locked` are kept up to date, and the name of somebody who is erased goes; an
	 * inbox keeps all of it up to date.
	 */
	readonly conversation: Conversation | null;
	/** Oldest first, without gaps; unacknowledged messages come last. */
	readonly messages: readonly ChatMessage[];
	/** Whether there are older messages, see `loadOlder`. */
	readonly hasOlder: boolean;
	readonly isLoadingOlder: boolean;
	/** Whether the other participant is typing. */
	readonly typing: boolean;
	/** The presence of the other participant; null while unknown. */
	readonly presence: Presence | null;
	/** Why sending waits although there is a connection. It continues by itself. */
	readonly delay: "rate_limited" | "temporarily_unavailable" | null;
	/** False while unacknowledged messages are only in memory, because the storage is full or forbidden. */
	readonly isKept: boolean;
}

export interface InboxSnapshot extends ConnectionSnapshot {
	/**
	 * Newest activity first; those without a message come last. `waiting_since` of each is since when the student has
	 * waited for an answer.
	 */
	readonly conversations: readonly Conversation[];
	/** The number of messages that this user has not read, in all conversations. */
	readonly unreadTotal: number;
	/** What this browser keeps and the server does not have, by conversation id; only those with something. */
	readonly kept: ReadonlyMap<number, Kept>;
}

export interface Kept {
	/** The draft, see `draftKey`; empty if there is none. */
	readonly draft: string;
	/** How many messages are not acknowledged yet. */
	readonly sending: number;
	/** How many messages were refused. */
	readonly failed: number;
}

// -------------------------------------------------------------------------------------------------------- stores

/** A store for `useSyncExternalStore`. */
export interface Store<Snapshot> {
	/** Call `listener` after each change. Returns a function that ends this. */
	subscribe(listener: () => void): () => void;
	/** The current snapshot: the same object until something changes. */
	getSnapshot(): Snapshot;
	/** Connect and stay connected; does nothing if it is open already. A closed store can be opened again. */
	open(): void;
	/** Disconnect. Unacknowledged messages are kept for the next time. */
	close(): void;
}

/** One conversation. Its functions need no `this`. */
export interface Chat extends Store<ChatSnapshot> {
	/**
	 * Show and send a message, now or as soon as there is a connection. The text is not trimmed. Returns its `clientId`,
	 * or null if the text is only white space, which is not sent.
	 */
	send(text: string): string | null;
	/** Send a failed message again, after all others. */
	retry(clientId: string): void;
	/** Remove a failed message. */
	discard(clientId: string): void;
	/** Fetch the page before the first message; does nothing while it is being fetched. May reject with an `ApiError`. */
	loadOlder(): Promise<void>;
	/** Call it on each key with whether there is text. The server is told at most every 3 s. `send` ends it. */
	setTyping(isTyping: boolean): void;
	/**
	 * Report that this message was on the screen, e.g. from an IntersectionObserver. It and the messages before it become
	 * read as soon as the page is visible. Calls are combined, so call it as often as you like.
	 */
	markVisible(messageId: number | null): void;
	/**
	 * Report a message of the other side to the school's staff, with a reason of up to 1,000 characters. The same message
	 * again is answered with the first report. May reject with an `ApiError`: 429 after 20 reports in a day.
	 */
	report(messageId: number, reason?: string | null): Promise<Report>;
}

/** What a mentor was told about the student when they were assigned. May reject with an `ApiError`. */
export function fetchHandoffNote(conversationId: number, options?: Options): Promise<HandoffNote>;

/** A student's conversations with former mentors, newest activity first. May reject with an `ApiError`. */
export function listFormer(options?: Options): Promise<Conversation[]>;

/**
 * One of them, to be read in the same way as a chat: nothing can be sent, and nothing comes. It is `"open"` as soon as the
 * newest messages are there; if they cannot be fetched, it tries again every 10 s.
 */
export function createFormerChat(options: Options & { user: Me; conversation: Conversation }): Chat;

/** All conversations of a user: a mentor's students, a student's mentor. It sends what is kept of each. */
export interface Inbox extends Store<InboxSnapshot> {
	/**
	 * A mentor says that a conversation needs no reply: its `waiting_since` is null until the student writes again. May
	 * reject with an `ApiError`.
	 */
	done(conversationId: number): Promise<void>;
}

/** Connects only after `open()`, so a server may create it while rendering. */
export function createChat(options?: ChatOptions): Chat;
export function createInbox(options?: Options & Known): Inbox;

// ------------------------------------------------------------------------------------------------------- options

export interface ChatOptions extends Options, Known {
	/** Which conversation of a mentor. Leave it out for a student, who has only one. */
	conversationId?: number | undefined;
	/** If it is known already, e.g. from the inbox: saves a request. */
	conversation?: Conversation | undefined;
	/** Whether to subscribe to the presence of the other participant; true by default. */
	presence?: boolean | undefined;
}

export interface Known {
	/** If it is known already, from `me()` or `login()`: saves a request. */
	user?: Me | undefined;
}

/** The address of the backend, and replacements for the browser's APIs in tests and in Node. */
export interface Options {
	/** The origin of `/api/v1/`, e.g. `https://chat.example.org`; by default the page's own. */
	baseUrl?: string | undefined;
	/** The origin of `/ws/chat/`, with `http(s)` or `ws(s)`; by default `baseUrl`, or the page's own. */
	socketUrl?: string | undefined;
	/** Default: the global one of browsers and Node 22. For Node 20 use that of the package `ws`. */
	WebSocket?: new (
		url: string,
	) => SocketLike;
	fetch?: (url: string, init: RequestInit) => Promise<Response>;
	/** Where the outbox is kept; default: `localStorage`. If it throws or is null, the outbox is only in memory. */
	storage?: Pick<Storage, "length" | "key" | "getItem" | "setItem" | "removeItem"> | null;
	/** The source of `online`, `offline` and `storage` events; null for none. */
	window?: EventTarget | null;
	/** The source of `visibilitychange` events; null for none, which counts as visible. */
	document?: (EventTarget & { readonly visibilityState: string }) | null;
}

/** The part of a WebSocket that the client uses. */
export interface SocketLike {
	readonly readyState: number;
	onopen: ((event: never) => void) | null;
	onmessage: ((event: never) => void) | null;
	onclose: ((event: never) => void) | null;
	onerror: ((event: never) => void) | null;
	send(text: string): void;
	close(code?: number): void;
}
