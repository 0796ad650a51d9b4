/**
 * The chat's client. client.d.ts describes.
 *
 *     createApi                 REST
 *     createChat, createInbox   one conversation; all conversations
 *       createStore             the snapshot and its listeners
 *       createLine              the WebSocket and its reconnects
 *       createOutbox            unacknowledged messages, kept across reloads
 *
 * A message: send -> outbox.add -> pump -> line.send -> server -> onmessage -> onFrame -> apply -> show.
 */

// Milliseconds.
const FIRST_WAIT = 500;
const LONGEST_WAIT = 30_000;
const STABLE = 10_000; // a connection of this length resets the wait
const QUIET = 25_000; // without a frame, then ping
const DEAD = 10_000; // without an answer, then reconnect
const PROBE = 4_000; // the same, after a return to the page
const REQUEST = 25_000;
const REPEAT = 1_000;
const ELSEWHERE = 10_000; // then send another tab's message
const COALESCE = 200;
const TYPING_OUT = 3_000;
const TYPING_IN = 6_000;

const PAGE = 50;
const REFUSALS = ["empty_message", "message_too_long", "invalid_characters", "conversation_closed"];

function surroundings(options) {
	const { WebSocket, fetch, window, document } = globalThis;
	return { WebSocket, fetch, window, document, storage: document && tried(() => localStorage), ...options };
}

function tried(call) {
	try {
		return call();
	} catch {
		return null;
	}
}

const keysOf = (storage) => tried(() => Array.from(storage, (_, index) => storage.key(index))) ?? [];

/** Remove texts: their names are `qader-...:<user id>:...`. */
function forgetOthers(storage, user) {
	const isOthers = (key) => /^qader-\w+:/.test(key) && key.split(":")[1] !== `${user?.id}`;
	for (const key of keysOf(storage)) if (isOthers(key)) tried(() => storage.removeItem(key));
}

const isHidden = ({ document }) => document?.visibilityState === "hidden";

function createTimer() {
	let timer;
	return (call, milliseconds) => {
		clearTimeout(timer);
		if (call) timer = setTimeout(call, milliseconds);
	};
}

// --- REST

/** A failed request; `status` is 0 if there was no answer. */
export class ApiError extends Error {
	constructor(status, body, retryAfter = null) {
		super(body?.detail ?? `HTTP ${status}`);
		Object.assign(this, { name: "ApiError", status, code: body?.code ?? null, retryAfter });
	}
}

/** REST under `/api/v1/`. */
export function createApi(options = {}) {
	const { fetch, baseUrl = "", storage } = surroundings(options);

	async function request(path, init) {
		const options = { credentials: "include", signal: AbortSignal.timeout(REQUEST), ...init };
		const response = await fetch(`${baseUrl}/api/v1/${path}`, options).catch(() => Response.error());
		const body = await response.json().catch(() => null);
		if (response.ok && (body || response.status === 204)) return body;
		const status = response.ok ? 0 : response.status; // success without JSON is a proxy's page
		throw new ApiError(status, body, Number(response.headers.get("Retry-After")) || null);
	}

	async function post(path, body = {}) {
		const { csrfToken } = await request("auth/csrf/"); // changed by each sign-in
		const headers = { "Content-Type": "application/json", "X-CSRFToken": csrfToken };
		return request(path, { method: "POST", headers, body: JSON.stringify(body) });
	}

	async function login(username, password) {
		const user = await post("auth/login/", { username, password });
		forgetOthers(storage, user);
		return user;
	}

	async function logout() {
		try {
			await post("auth/logout/");
		} catch (error) {
			if (error.status === 401) forgetOthers(storage);
			throw error;
		}
		forgetOthers(storage);
	}

	const get = (path) => request(path);
	return { get, post, login, logout, me: () => get("auth/me/") };
}

/** Counts pages: behind rewrites, `next` names another host. */
async function listConversations(api, isMentor) {
	if (!isMentor) return [await api.get("chat/my-conversation/")];
	const all = [];
	for (let page = 1; ; page += 1) {
		const { results, next } = await api.get(`chat/teacher/conversations/?page_size=200&page=${page}`);
		all.push(...results);
		if (!next) return all;
	}
}

// --- store

function createStore(parts) {
	const listeners = new Set();
	let snapshot = Object.freeze({ status: "connecting", reason: null, retryAt: null, isLoaded: false, ...parts });
	return {
		getSnapshot: () => snapshot,
		subscribe(listener) {
			listeners.add(listener);
			return () => void listeners.delete(listener);
		},
		set(changes) {
			snapshot = Object.freeze({ ...snapshot, ...changes });
			for (const listener of listeners) listener();
		},
	};
}

// --- line

/**
 * Keeps a WebSocket open. Unless `sure`, `identify` asks REST who the participants are; a 404 stops it with `gone`.
 * `address` returns the socket's path. `onFrame`, `lost` and `stored` take a frame, a close code and a storage event.
 */
function createLine(env, { set, getSnapshot, subscribe }, options) {
	const { identify, address, onFrame, lost, awake, stored, gone } = options;
	const stops = { 401: "signed_out", 403: "not_allowed", 404: gone };
	let { sure } = options;
	const wait = createTimer();
	let socket, opened, asked, flooded;
	let listening;
	let turn = 0;
	let tries = 0;
	let readyAt = Infinity;

	function open() {
		if (listening) return;
		listening = new AbortController();
		env.window?.addEventListener("online", wake, listening);
		env.window?.addEventListener("storage", stored, listening);
		env.document?.addEventListener("visibilitychange", () => isHidden(env) || wake(), listening);
		tries = 0;
		set({ status: "connecting", reason: null });
		wait(attempt, 0); // a strict React opens twice
	}

	function stop(reason) {
		hangUp(1000);
		listening?.abort();
		listening = sure = null;
		set({ status: "stopped", reason, retryAt: null });
	}

	function attempt() {
		wait();
		flooded = false;
		set({ status: "connecting", retryAt: null });
		asked = !sure;
		if (sure) return connect();
		request(identify(), (found) => {
			const { user } = getSnapshot();
			if (user && user.id !== found.user.id) return stop("signed_out"); // somebody else signed in
			set(found);
			connect();
		});
	}

	function connect() {
		const url = new URL(`/ws/chat/${address()}`, env.socketUrl || env.baseUrl || location.href);
		url.protocol = url.protocol.replace("http", "ws");
		forgetOthers(env.storage, getSnapshot().user);
		sure = true;
		opened = false;
		socket = new env.WebSocket(url.href);
		socket.onmessage = ({ data }) => {
			opened = true;
			wait(ping, QUIET);
			onFrame(JSON.parse(data));
		};
		socket.onerror = () => {};
		socket.onclose = ({ code }) => ended(code);
		wait(drop, DEAD);
	}

	function send(frame) {
		if (socket?.readyState === 1) socket.send(JSON.stringify(frame));
	}

	function ping(patience = DEAD) {
		send({ type: "ping" });
		wait(drop, patience);
	}

	function drop(code = 1006) {
		if (socket) ended(code);
	}

	function ended(code) {
		if (Date.now() - readyAt >= STABLE) tries = 0;
		sure = opened && code !== 4403 && code !== 4404;
		hangUp(code);
		flooded = code === 4429;
		if (code === 4401) stop("signed_out");
		else again(flooded || (asked && !opened)); // refused, though REST allows it
	}

	function failed(error) {
		if (!(error instanceof ApiError)) throw error;
		hangUp(1006);
		if (stops[error.status]) stop(stops[error.status]);
		else again();
	}

	function again(tooMany) {
		const jitter = Math.random() * Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** tries);
		const delay = flooded ? LONGEST_WAIT + jitter : jitter;
		tries += 1;
		set({ status: "waiting", reason: tooMany ? "too_many" : "unavailable", retryAt: Date.now() + delay });
		wait(attempt, delay);
	}

	function hangUp(code) {
		turn += 1;
		readyAt = Infinity;
		wait();
		if (socket) {
			// A dead socket closes late.
			socket.onmessage = socket.onclose = null;
			socket.close();
			socket = null;
		}
		lost?.(code);
	}

	function wake() {
		const { status } = getSnapshot();
		if (status === "waiting" && !flooded) attempt();
		if (status === "open") ping(PROBE);
		awake?.();
	}

	/** Use the answer, unless the connection has ended since. A failed request ends it. */
	function request(promise, use) {
		const mine = turn;
		const isMine = (then) => (value) => mine === turn && then(value);
		promise.then(isMine(use), isMine(failed));
	}

	function ready() {
		readyAt = Date.now();
		set({ status: "open", reason: null });
	}

	const common = { subscribe, getSnapshot, open, close: () => stop("closed") };
	return { common, request, ready, send, drop };
}

// --- outbox

/**
 * Unacknowledged messages: `{clientId, content, at, after, error, due}`, each in its own storage item: tabs do not
 * overwrite each other's.
 */
function createOutbox(storage) {
	const entries = new Map();
	let prefix = ""; // empty until user and conversation are known
	const inOrder = () => [...entries.values()].sort((one, other) => one.at - other.at);

	function put(entry) {
		entries.set(entry.clientId, entry);
		if (prefix) tried(() => storage.setItem(prefix + entry.clientId, JSON.stringify(entry)));
	}

	function add(entry) {
		put({ ...entry, at: Math.max(Date.now(), ...inOrder().map(({ at }) => at + 1)) });
	}

	function remove(clientId) {
		entries.delete(clientId);
		tried(() => storage.removeItem(prefix + clientId));
	}

	function read(text, due) {
		const entry = tried(() => JSON.parse(text));
		if (entry?.at > 0) entries.set(entry.clientId, { ...entry, due });
	}

	/** Entries from before the first prefix belong to it; those of another prefix fail. */
	function open(newPrefix) {
		const before = inOrder();
		const error = prefix && "conversation_closed";
		for (const { clientId } of before) remove(clientId);
		prefix = newPrefix;
		for (const key of keysOf(storage)) if (key.startsWith(prefix)) read(storage.getItem(key));
		for (const entry of before) put({ ...entry, error: entry.error || error });
	}

	function changed({ key, newValue }) {
		if (!prefix || !key?.startsWith(prefix)) return false;
		const entry = entries.get(key.slice(prefix.length));
		if (newValue) read(newValue, entry ? entry.due : Date.now() + ELSEWHERE);
		else if (entry?.error) entries.delete(entry.clientId); // discarded there
		return true;
	}

	return { open, put, add, remove, changed, inOrder, get: (clientId) => entries.get(clientId) };
}

/** The unacknowledged messages of a user's conversations in this browser. */
export function listUnsent(user, options) {
	const { storage } = surroundings(options);
	const keys = keysOf(storage).filter((key) => key.startsWith(`qader-chat:${user.id}:`));
	const unsent = keys.map((key) => {
		const { clientId, content, at } = tried(() => JSON.parse(storage.getItem(key))) ?? {};
		return { conversationId: Number(key.split(":")[2]), clientId, content, at };
	});
	return unsent.filter(({ content }) => content).sort((one, other) => one.at - other.at);
}

// --- chat

/** A student's conversation, or with `conversationId` a mentor's. */
export function createChat(options = {}) {
	const { conversationId, user = null, conversation = null, presence = true } = options;
	const socketPath = conversationId ? `conversations/${conversationId}/` : "my-conversation/";
	const restPath = `chat/${conversationId ? "teacher/" : ""}${socketPath}messages/`;
	const env = surroundings(options);
	const api = createApi(env);
	const outbox = createOutbox(env.storage);
	const shown = { user, conversation, messages: [], hasOlder: false, isLoadingOlder: false, typing: false };
	const store = createStore({ ...shown, presence: null, delay: null });
	const { set, getSnapshot } = store;
	const gone = conversationId ? "not_allowed" : "no_mentor";
	const sure = user && conversation;
	const line = createLine(env, store, { identify, address, onFrame, lost, awake: mark, stored, gone, sure });
	const history = (limit) => api.get(`${restPath}?mark_read=false&limit=${limit}`);
	let entered; // id of the conversation
	let messages = []; // the server's, in order, without gaps
	let early; // frames from before the history
	let readUpTo; // the last own and received id that is read
	let underWay = null; // the client id that waits for an answer
	let seen = 0; // the newest message that was visible
	let typedAt = 0;
	let markTimer;
	const waitForAnswer = createTimer();
	const waitForTyping = createTimer();

	async function identify() {
		const [user, all] = await Promise.all([api.me(), listConversations(api, conversationId)]);
		const conversation = all.find(({ id }) => !conversationId || id === Number(conversationId));
		if (!conversation) throw new ApiError(404);
		return { user, conversation };
	}

	/** Resume after the last message (0: none), after a reload after that before the outbox. */
	function address() {
		const { user, conversation } = getSnapshot();
		if (entered !== conversation.id) enter(user.id, conversation.id);
		const after = messages.at(-1)?.id ?? (getSnapshot().isLoaded ? 0 : outbox.inOrder()[0]?.after);
		early = after >= 0 ? [] : null;
		return `${socketPath}?mark_read=false${presence ? "&presence=1" : ""}${early ? `&after=${after}` : ""}`;
	}

	function enter(userId, id) {
		entered = id;
		messages = [];
		readUpTo = { own: 0, received: 0 };
		seen = 0;
		outbox.open(`qader-chat:${userId}:${id}:`);
		show({ isLoaded: false, hasOlder: false });
	}

	// Receiving.

	function onFrame(frame) {
		const { type } = frame;
		if (frame.error) refused(frame);
		else if (type === "connection_established") established(frame);
		else if (type === "resume_complete") resumed(frame);
		else if (type === "presence") set({ presence: frame });
		else if (type === "typing") showTyping(frame.is_typing);
		else if (frame.message || frame.message_ids) {
			if (early) early.push(frame);
			else apply([frame]);
		}
	}

	function established({ conversation_id }) {
		if (conversation_id !== `${entered}`)
			line.drop(4403); // another mentor since `identify`
		else if (!early) load();
	}

	function resumed({ recovered, read_up_to }) {
		readUpTo.own = Math.max(readUpTo.own, read_up_to);
		if (!recovered || !getSnapshot().isLoaded) return load();
		ready();
		if (messages.every(({ state, is_read }) => state !== "received" || is_read)) return;
		const isShown = ({ id }) => id <= messages.at(-1).id;
		line.request(history(200), ({ results }) => show({}, results.filter(isShown))); // read in another tab?
	}

	/** Show only the newest page; frames wait. */
	function load() {
		early ??= [];
		line.request(history(PAGE), ({ results, previous }) => {
			messages = [];
			ready({ isLoaded: true, hasOlder: previous !== null }, results);
		});
	}

	function ready(changes, news) {
		const frames = early;
		early = null;
		apply(frames, changes, news);
		line.ready();
		pump();
		mark();
	}

	function apply(frames, changes, news = []) {
		for (const { message, client_id: clientId, message_ids = [], reader } of frames) {
			const whose = reader === getSnapshot().user.id ? "received" : "own";
			readUpTo[whose] = Math.max(readUpTo[whose], ...message_ids);
			if (message) news.push({ ...message, clientId });
			if (message?.is_own_message === false) showTyping();
			if (clientId) outbox.remove(clientId);
			if (clientId === underWay) answered();
		}
		show(changes, news);
		pump();
	}

	function showTyping(typing = false) {
		waitForTyping(typing && showTyping, TYPING_IN);
		set({ typing });
	}

	function lost(code) {
		if (code === 1009) failed("message_too_long");
		answered();
		showTyping();
		set({ presence: null });
	}

	// Showing.

	/** Merge `news` into the list, except messages from before `oldest`. */
	function show(changes, news = [], oldest = messages[0]?.id ?? 0) {
		const byId = new Map(messages.map((message) => [message.id, message]));
		for (const message of news) if (message.id >= oldest) byId.set(message.id, dressed(message, byId.get(message.id)));
		messages = [...byId.values()].map((message) => dressed(message, message)).sort((one, other) => one.id - other.id);
		set({ ...changes, messages: [...messages, ...outbox.inOrder().map(pending)] });
	}

	function dressed(message, known) {
		const { id, is_own_message: isOwn } = message;
		const is_read = message.is_read || id <= readUpTo[isOwn ? "own" : "received"];
		const clientId = message.clientId ?? known?.clientId ?? null;
		if (known?.is_read === is_read && known.clientId === clientId) return known;
		const state = !isOwn ? "received" : is_read ? "read" : "sent";
		return { ...message, is_read, clientId, key: known?.key ?? clientId ?? `${id}`, state, error: null };
	}

	function pending({ clientId, content, at, error = null }) {
		const { id: sender, profile: sender_profile } = getSnapshot().user ?? {};
		const timestamp = new Date(at).toISOString();
		const message = { id: null, sender, sender_profile, content, timestamp, is_read: false, is_own_message: true };
		return { ...message, clientId, key: clientId, state: error ? "failed" : "sending", error };
	}

	async function loadOlder() {
		const { hasOlder, isLoadingOlder } = getSnapshot();
		if (!hasOlder || isLoadingOlder) return;
		const first = messages[0].id;
		set({ isLoadingOlder: true });
		try {
			const { results, previous } = await history(`${PAGE}&before=${first}`);
			if (messages[0]?.id === first) show({ hasOlder: previous !== null }, results, 0);
		} finally {
			set({ isLoadingOlder: false });
		}
	}

	// Sending.

	function send(text) {
		if (!text.trim()) return null;
		const clientId = crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`; // missing over http
		typedAt = 0;
		add({ clientId, content: text, after: messages.at(-1)?.id });
		return clientId;
	}

	function retry(clientId) {
		const entry = outbox.get(clientId);
		if (entry?.error) add({ ...entry, error: null });
	}

	function add(entry) {
		outbox.add(entry);
		show();
		pump();
	}

	function discard(clientId) {
		if (outbox.get(clientId)?.error) outbox.remove(clientId);
		show();
	}

	/** One at a time: an error does not name its message, and nothing may overtake one that waits for the rate limit. */
	function pump() {
		if (underWay || getSnapshot().status !== "open") return;
		const next = outbox.inOrder().find(({ error, due }) => !error && !(due > Date.now()));
		if (!next) return;
		underWay = next.clientId;
		line.send({ message: next.content, client_id: underWay });
		waitForAnswer(line.drop, DEAD);
	}

	function answered() {
		if (getSnapshot().delay) set({ delay: null });
		waitForAnswer();
		underWay = null;
	}

	/** REFUSALS are always about a send. Others may be about a mark: repeating the send does no harm. */
	function refused({ code, retry_after }) {
		if (REFUSALS.includes(code)) failed(code);
		else if (retry_after || code === "temporarily_unavailable") {
			set({ delay: code });
			waitForAnswer(repeat, retry_after * 1000 || REPEAT);
		}
	}

	function failed(error) {
		const entry = outbox.get(underWay);
		answered();
		if (entry) outbox.put({ ...entry, error });
		show();
		pump();
	}

	function repeat() {
		answered();
		pump();
		mark();
	}

	function stored(event) {
		if (!outbox.changed(event)) return;
		setTimeout(pump, 1.1 * ELSEWHERE);
		show();
	}

	function setTyping(isTyping) {
		if (isTyping ? Date.now() - typedAt < TYPING_OUT : !typedAt) return;
		typedAt = isTyping ? Date.now() : 0;
		line.send({ type: "typing", is_typing: isTyping });
	}

	function markVisible(messageId) {
		seen = Math.max(seen, messageId);
		if (!markTimer) markTimer = setTimeout(mark, COALESCE);
	}

	function mark() {
		markTimer = null;
		const last = messages.findLast(({ id, state }) => id <= seen && state === "received");
		if (last && !last.is_read && !isHidden(env)) line.send({ type: "mark_read", message_id: last.id });
	}

	return { ...line.common, send, retry, discard, loadOlder, setTyping, markVisible };
}

// --- inbox

/** All conversations of a user, newest activity first. */
export function createInbox(options = {}) {
	const env = surroundings(options);
	const api = createApi(env);
	const { user = null } = options;
	const store = createStore({ user, conversations: [], unreadTotal: 0 });
	const { set, getSnapshot } = store;
	const identify = async () => ({ user: await api.me() });
	const line = createLine(env, store, {
		identify,
		address: () => "inbox/",
		onFrame,
		stored() {},
		gone: "no_mentor",
		sure: user,
	});
	let early; // updates from before the list

	function onFrame({ type, conversation }) {
		if (type === "inbox_established") load();
		else if (type === "conversation_update") {
			if (early) early.push(conversation);
			else show([conversation]);
		}
	}

	function load() {
		early = [];
		const { role } = getSnapshot().user.profile ?? {};
		line.request(listConversations(api, role !== "STUDENT"), (listed) => {
			show([...listed, ...early], []);
			early = null;
			line.ready();
		});
	}

	function show(news, old = getSnapshot().conversations) {
		const byId = new Map([...old, ...news].map((conversation) => [conversation.id, conversation]));
		const conversations = [...byId.values()].sort((one, other) => (one.updated_at < other.updated_at ? 1 : -1));
		const unreadTotal = conversations.reduce((sum, one) => sum + one.unread_message_count_for_user, 0);
		set({ conversations, unreadTotal, isLoaded: true });
	}

	return line.common;
}
