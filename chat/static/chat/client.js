/**
 * The chat's client. client.d.ts describes.
 *
 *     createApi                 REST
 *     createChat, createInbox   one conversation; all conversations
 *     createFormerChat          a conversation with a former mentor, which can only be read
 *       createStore             the snapshot and its listeners
 *       createLine              the WebSocket and its reconnects; without WebSockets, REST in regular requests
 *       createOutbox            a chat's unacknowledged messages, kept across reloads
 *       createCourier           sends what is kept for conversations without an open chat
 *     write, neighbours         localStorage, whose changes all stores of the page and all tabs see
 *
 * A message: send -> outbox.add -> pump -> line.send -> server -> onmessage -> onFrame -> apply -> show.
 * Without WebSockets: send -> outbox.add -> pump -> post -> server -> apply -> show.
 *
 * Everything that comes from outside (a frame, an answer, a timer, an event) runs in `batch`: the client's own state is
 * complete before the listeners hear of it, and an error takes only what caused it.
 */

// Milliseconds.
const FIRST_WAIT = 500;
const LONGEST_WAIT = 30_000;
const STABLE = 10_000; // a connection of this length resets the wait
const QUIET = 25_000; // without a frame, then ping
const DEAD = 10_000; // without an answer, then reconnect
const PROBE = 4_000; // the same, after a return to the page
const PATIENCE = 1_500; // for a socket's first frame, then REST stands in
const FIRST_POLL = 2_000;
const LONGEST_POLL = 20_000;
const SILENCE = 15_000; // a request may take longer while bytes come
const SIGN_IN = 25_000; // the same: a whole class may sign in at once
const REPEAT = 1_000;
const ELSEWHERE = 10_000; // then send another tab's message
const COALESCE = 200;
const TYPING_OUT = 3_000;
const TYPING_IN = 6_000;

// Messages.
const PAGE = 50;
const SMALLEST_PAGE = 5;
const LARGEST_PAGE = 200;
const FAR = 500; // so many are loaded at once to reach the first unread one
const NEWEST = 10; // enough for news; a gap behind them is filled by a page

const NOT_WRITABLE = ["account_locked", "conversation_closed", "conversation_locked"];
const REFUSALS = ["empty_message", "message_too_long", "invalid_characters", ...NOT_WRITABLE];

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

/** Show an error to the developer, and go on. */
function report(error) {
	if (globalThis.reportError) globalThis.reportError(error);
	else console.error(error);
}

const lastOf = (list) => list[list.length - 1];
const isHidden = ({ document }) => document?.visibilityState === "hidden";

function createTimer() {
	let timer;
	return (call, milliseconds) => {
		clearTimeout(timer);
		if (call) timer = setTimeout(call, milliseconds);
	};
}

// --- storage

const keysOf = (storage) => tried(() => Array.from(storage, (_, index) => storage.key(index))) ?? [];
const parsed = (storage, key) => tried(() => JSON.parse(storage.getItem(key)));

/** The open stores of this page: storage events reach only other tabs. */
const neighbours = new Set();

/** Write a text, or remove it if it is empty. Returns whether that worked. */
function write(storage, key, text, by) {
	const isDone = tried(() => {
		if (text) storage.setItem(key, text);
		else storage.removeItem(key);
		return true;
	});
	for (const one of neighbours) if (one !== by && one.storage === storage) one.stored({ key, newValue: text || null });
	return Boolean(isDone);
}

/**
 * Remove texts: their names are `qader-...:<user id>:...`. A user id of 0 means that it was not known yet: these stay for
 * whoever it turns out to be, unless somebody signs in or out.
 */
function forgetOthers(storage, user, isSignIn) {
	const mine = isSignIn ? [`${user?.id}`] : [`${user?.id}`, "0"];
	const isOthers = (key) => /^qader-\w+:/.test(key) && !mine.includes(key.split(":")[1]);
	for (const key of keysOf(storage)) if (isOthers(key)) write(storage, key, "");
}

// --- REST

let ahead = 0; // the server's clock, in milliseconds before this one's

/** The time by the server's clock: a phone's may be hours off. */
export const serverNow = () => Date.now() + ahead;

/** A failed request; `status` is 0 if there was no answer. */
export class ApiError extends Error {
	constructor(status, body, retryAfter = null) {
		super(body?.detail ?? `HTTP ${status}`);
		Object.assign(this, { name: "ApiError", status, code: body?.code ?? null, retryAfter });
	}
}

/** Fetch a text; rejects after so many milliseconds without a byte. */
function exchange(fetch, url, init, silence) {
	return new Promise((resolve, reject) => {
		const abort = new AbortController();
		const patience = createTimer();
		const give = (settle) => (value) => {
			patience();
			settle(value);
		};
		const isAlive = () =>
			patience(() => {
				reject(new ApiError(0));
				abort.abort();
			}, silence);
		isAlive();
		fetch(url, { credentials: "include", signal: abort.signal, ...init })
			.then(async (response) => ({ response, text: await readText(response, isAlive) }))
			.then(give(resolve), give(reject));
	});
}

async function readText(response, isAlive) {
	isAlive();
	const reader = response.body?.getReader?.();
	if (!reader) return response.text();
	const decoder = new TextDecoder();
	for (let text = ""; ; ) {
		const { done, value } = await reader.read();
		if (done) return text + decoder.decode();
		isAlive();
		text += decoder.decode(value, { stream: true });
	}
}

/** REST under `/api/v1/`. */
export function createApi(options = {}) {
	const { fetch, baseUrl = "", storage } = surroundings(options);

	async function request(path, init, silence = SILENCE) {
		const { response, text } = await exchange(fetch, `${baseUrl}/api/v1/${path}`, init, silence).catch(() => {
			throw new ApiError(0);
		});
		const body = tried(() => JSON.parse(text));
		ahead = Date.parse(response.headers.get("Date")) - Date.now() || ahead;
		if (response.ok && (body || response.status === 204)) return body;
		const status = response.ok ? 0 : response.status; // success without JSON is a proxy's page
		throw new ApiError(status, body, Number(response.headers.get("Retry-After")) || null);
	}

	async function send(method, path, body = {}, silence = SILENCE) {
		const { csrfToken } = await request("auth/csrf/"); // changed by each sign-in
		const headers = { "Content-Type": "application/json", "X-CSRFToken": csrfToken };
		return request(path, { method, headers, body: JSON.stringify(body) }, silence);
	}

	const post = (path, body, silence) => send("POST", path, body, silence);

	async function login(username, password) {
		const user = await post("auth/login/", { username, password }, SIGN_IN);
		forgetOthers(storage, user, true);
		return user;
	}

	async function logout() {
		await post("auth/logout/").catch(async (error) => {
			const { status } = await me().catch((failure) => failure);
			if (error.status !== 401 && status !== 401) throw error; // otherwise it is over, only the answer was lost
		});
		forgetOthers(storage, null, true);
	}

	const get = (path) => request(path);
	const me = () => get("auth/me/");
	return { get, post: (path, body) => post(path, body), send, login, logout, me };
}

const FORMER = "chat/my-conversation/former/";

async function listConversations(api, isMentor) {
	return isMentor ? listAll(api, "chat/teacher/conversations/") : [await api.get("chat/my-conversation/")];
}

/** Counts pages: behind rewrites, `next` names another host. */
async function listAll(api, path) {
	const all = [];
	for (let page = 1; ; page += 1) {
		const { results, next } = await api.get(`${path}?page_size=200&page=${page}`);
		all.push(...results);
		if (!next) return all;
	}
}

const messagesPath = (isMentor, id) => `chat/${isMentor ? `teacher/conversations/${id}` : "my-conversation"}/messages/`;

/** Send over REST. A student's path leads to whoever is their mentor now: another one must not get it. */
async function postMessage(api, isMentor, id, { clientId, content }) {
	if (!isMentor && (await api.get("chat/my-conversation/")).id !== id) throw new ApiError(404);
	return api.post(messagesPath(isMentor, id), { content, client_id: clientId });
}

// --- store

function createStore(parts) {
	const listeners = new Set();
	let snapshot = Object.freeze({ status: "connecting", reason: null, retryAt: null, isLoaded: false, ...parts });
	let told = snapshot;
	let depth = 0;

	/** Listeners hear of all changes of a call at its end, once. */
	function batch(call) {
		depth += 1;
		try {
			return call();
		} finally {
			depth -= 1;
			if (!depth && told !== snapshot) tell();
		}
	}

	function tell() {
		told = snapshot;
		for (const listener of listeners) guarded(listener);
	}

	function guarded(call) {
		try {
			call();
		} catch (error) {
			report(error);
		}
	}

	return {
		getSnapshot: () => snapshot,
		subscribe(listener) {
			listeners.add(listener);
			return () => void listeners.delete(listener);
		},
		set(changes) {
			batch(() => {
				snapshot = Object.freeze({ ...snapshot, ...changes });
			});
		},
		batch,
		/** For what comes from outside: an error ends this call only. */
		from:
			(call) =>
			(...values) =>
				batch(() => guarded(() => call(...values))),
		/** For functions that others call: an error is theirs. */
		to:
			(call) =>
			(...values) =>
				batch(() => call(...values)),
	};
}

// --- line

/**
 * Keeps a WebSocket open; while there is none although REST answers, has `poll` called in its place. Unless `sure`,
 * `identify` asks REST who the participants are; a 404 stops it with `gone`. `address` returns the socket's path.
 * `onFrame`, `lost` and `stored` take a frame, a close code and a storage event; `leaving` comes before the page may end.
 */
function createLine(env, store, options) {
	const { identify, address, onFrame, lost, awake, leaving, stored, owns, gone, poll } = options;
	const { set, getSnapshot, subscribe, batch, from, to } = store;
	const stops = { 401: "signed_out", 403: "not_allowed", 404: gone };
	const neighbour = { storage: env.storage, stored: from(stored), owns };
	let { sure } = options;
	const timer = createTimer();
	const pollTimer = createTimer();
	const wait = (call, milliseconds) => timer(call && from(call), milliseconds);
	let socket = null;
	let opened = false; // the socket has said something
	let standsIn = false; // REST is used in its place
	let isProven, flooded, isOffline;
	let listening = null;
	let turn = 0; // changes with what feeds the snapshot
	let tries = 0;
	let polls = 0; // without news
	let readyAt = Infinity;

	function open() {
		if (listening) return;
		listening = new AbortController();
		const listen = (target, type, call) => target?.addEventListener(type, from(call), listening);
		listen(env.window, "online", () => {
			isOffline = false;
			wake();
		});
		listen(env.window, "offline", offline);
		listen(env.window, "storage", stored);
		listen(env.document, "visibilitychange", () => (isHidden(env) ? leaving?.() : wake()));
		listen(env.window, "pagehide", () => isHidden(env) || leaving?.());
		neighbours.add(neighbour);
		isOffline = env.window?.navigator?.onLine === false;
		tries = 0;
		set(isOffline ? { status: "waiting", reason: "offline" } : { status: "connecting", reason: null });
		wait(attempt, 0); // a strict React opens twice
	}

	function stop(reason) {
		leave(1000);
		neighbours.delete(neighbour);
		listening?.abort();
		listening = sure = null;
		set({ status: "stopped", reason, retryAt: null });
	}

	function attempt() {
		wait();
		flooded = false;
		set({ retryAt: null });
		if (!standsIn && !isOffline) set({ status: "connecting" });
		isProven = false;
		if (sure) return connect();
		wait(() => set({ reason: isOffline ? "offline" : "unavailable" }), PATIENCE); // it may take long to fail
		ask(connect);
	}

	/** Ask who is signed in, and for `more` beside it. */
	function ask(then, more) {
		request(Promise.all([identify(), more]), ([found, answer]) => {
			const { user } = getSnapshot();
			if (user && user.id !== found.user.id) return stop("signed_out"); // somebody else signed in
			sure = true;
			set(found);
			prove();
			then(answer);
		});
	}

	/** It is this user's session: a tab that wakes up may be in another one's. */
	function prove() {
		isProven = true;
		forgetOthers(env.storage, getSnapshot().user);
	}

	/** As `request`, for an answer that does not say whose it is. */
	function requestMine(promise, use) {
		if (isProven) request(promise, use);
		else ask(use, promise);
	}

	function connect() {
		wait(standIn, PATIENCE);
		try {
			const url = new URL(`/ws/chat/${address()}`, socketOrigin(env));
			url.protocol = url.protocol.replace("http", "ws");
			socket = new env.WebSocket(url.href);
		} catch (error) {
			report(error); // a wrong address, or a browser that forbids it
			return standIn();
		}
		socket.onmessage = from(({ data }) => {
			heard();
			onFrame(JSON.parse(data));
		});
		socket.onerror = () => {};
		socket.onclose = from(({ code }) => ended(code));
	}

	/** With a first frame, the socket feeds the snapshot. */
	function heard() {
		if (!opened) {
			turn += 1;
			standsIn = false;
			pollTimer();
		}
		opened = true;
		wait(ping, QUIET);
	}

	function send(frame) {
		if (socket?.readyState === 1) socket.send(JSON.stringify(frame));
	}

	function ping(patience = DEAD) {
		send({ type: "ping" });
		wait(drop, patience);
	}

	/** Give up what feeds the snapshot. */
	function drop(code = 1006) {
		leave(code);
		sure = code !== 4403 && code !== 4404;
		flooded = code === 4429;
		again(flooded ? "too_many" : "unavailable");
	}

	function ended(code) {
		if (code === 4401) stop("signed_out");
		else if (opened) drop(code);
		else refused();
	}

	/** The browser does not say why there is no socket; REST may. */
	function refused() {
		hangUp();
		standIn();
	}

	function standIn() {
		if (socket) wait(refused, DEAD - PATIENCE);
		if (standsIn) return socket || schedule();
		standsIn = true;
		polls = 0;
		const begin = () => {
			if (!socket && !getSnapshot().retryAt) schedule();
			diagnose(env).catch(report);
			poll();
		};
		if (isProven) begin();
		else ask(begin);
	}

	function failed(error) {
		if (!(error instanceof ApiError)) report(error);
		leave(1006);
		if (stops[error.status]) stop(stops[error.status]);
		else again(error.status === 429 ? "too_many" : "unavailable", error.retryAfter);
	}

	function offline() {
		isOffline = true;
		if (flooded) return;
		leave(1006);
		again();
	}

	function again(reason, seconds) {
		set({ status: "waiting", reason: isOffline ? "offline" : reason });
		schedule(seconds);
	}

	function schedule(seconds = 0) {
		const jitter = Math.random() * Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** tries);
		const delay = flooded ? LONGEST_WAIT + jitter : Math.max(jitter, seconds * 1000);
		tries += 1;
		set({ retryAt: Date.now() + delay });
		wait(attempt, delay);
	}

	function leave(code) {
		turn += 1;
		standsIn = false;
		if (Date.now() - readyAt >= STABLE) tries = 0;
		readyAt = Infinity;
		pollTimer();
		hangUp();
		lost?.(code);
	}

	function hangUp() {
		wait();
		opened = false;
		if (!socket) return;
		// A dead socket closes late.
		socket.onmessage = socket.onclose = null;
		socket.close();
		socket = null;
	}

	function wake() {
		const { status } = getSnapshot();
		if (status === "waiting" && !flooded) attempt();
		if (status === "open") ping(PROBE);
		if (status === "polling") {
			if (!socket) attempt();
			soon();
		}
		awake?.();
	}

	/** Use the answer, unless something else feeds the snapshot since. A failed request ends what does. */
	function request(promise, use) {
		const mine = turn;
		const isMine = (then) => (value) => batch(() => mine === turn && then(value));
		promise.then(isMine(use)).catch(isMine(failed));
	}

	/** The snapshot is complete. */
	function ready(isNews) {
		isOffline = false;
		if (standsIn) {
			polls = isNews ? 0 : polls + 1;
			set({ status: "polling", reason: "blocked" });
			return pollTimer(from(poll), Math.min(LONGEST_POLL, FIRST_POLL * 1.5 ** polls));
		}
		readyAt = Date.now();
		set({ status: "open", reason: null, retryAt: null });
	}

	/** Poll often again: there will be news. */
	function soon() {
		polls = 0;
		if (getSnapshot().status === "polling") pollTimer(from(poll), COALESCE);
	}

	const common = { subscribe, getSnapshot, open: to(open), close: to(() => stop("closed")) };
	return { common, neighbour, request, requestMine, prove, ready, send, drop, failed, soon };
}

const socketOrigin = ({ socketUrl, baseUrl }) => socketUrl || baseUrl || location.href;
const diagnosed = new Set();

/** WebSockets do not work though REST does: tell the developer which setting may be the reason. */
async function diagnose(env) {
	const { origin } = new URL(socketOrigin(env).replace(/^ws/, "http"));
	const page = tried(() => location.origin);
	if (diagnosed.has(origin)) return;
	diagnosed.add(origin);
	const url = `${origin}/api/v1/auth/me/`;
	const { fetch } = env; // as a method, the browser's own refuses to be called
	const ask = (init) => fetch(url, { credentials: "include", ...init }).catch(() => null);
	const isElsewhere = origin !== new URL(env.baseUrl || location.href).origin;
	const answer = isElsewhere && (await ask());
	const say = (text) => console.error(`Chat: no WebSocket to ${origin}. ${text}`);
	if (answer?.status === 401)
		say(`Its cookies are not sent there: set COOKIE_DOMAIN of the backend to the domain that both hosts share.`);
	else if (answer === null && (await ask({ mode: "no-cors" })))
		say(`It does not trust ${page}: add that to CSRF_TRUSTED_ORIGINS of the backend.`);
	else if (answer === null) say("Nothing answers there: check `socketUrl`.");
	else
		console.info(
			`Chat: no WebSocket to ${origin}, although requests are answered. Something on the way blocks it, or the backend ` +
				"refuses it: its log says why (CSRF_TRUSTED_ORIGINS, TRUST_PROXY, CHAT_MAX_SOCKETS_PER_USER). REST stands in.",
		);
}

// --- outbox

/**
 * Unacknowledged messages: `{clientId, content, at, after, to, error, due}`, each in its own storage item: tabs do not
 * overwrite each other's. `after` is the newest message at the first try, without which the server cannot have it.
 */
function createOutbox(storage, me) {
	const entries = new Map();
	const loose = new Set(); // those that could not be stored
	let prefix = "";
	const inOrder = () => [...entries.values()].sort((one, other) => one.at - other.at);

	function put(entry) {
		entries.set(entry.clientId, entry);
		const isKept = write(storage, prefix + entry.clientId, JSON.stringify(entry), me());
		loose[isKept ? "delete" : "add"](entry.clientId);
	}

	function add(entry) {
		put({ ...entry, at: Math.max(Date.now(), ...inOrder().map(({ at }) => at + 1)) });
	}

	function remove(clientId) {
		entries.delete(clientId);
		loose.delete(clientId);
		write(storage, prefix + clientId, "", me());
	}

	function read(entry, due = entries.get(entry?.clientId)?.due) {
		if (entry?.at > 0 && typeof entry.content === "string") entries.set(entry.clientId, { ...entry, due });
	}

	/**
	 * Name the items, and read those that are there. What there was before goes along with the error that `errorOf`
	 * returns; so do the items for whose key `adopts` is true.
	 */
	function open(newPrefix, errorOf, adopts) {
		const before = prefix === newPrefix ? [] : inOrder().map((entry) => [prefix + entry.clientId, entry]);
		for (const [, { clientId }] of before) remove(clientId);
		prefix = newPrefix;
		const keys = keysOf(storage);
		// Sent or discarded by another tab while the chat was closed.
		for (const id of entries.keys()) if (!loose.has(id) && !keys.includes(prefix + id)) entries.delete(id);
		for (const key of keys) {
			if (owns(key)) read(parsed(storage, key));
			else if (adopts(key)) {
				const entry = parsed(storage, key);
				if (entry?.at > 0) before.push([key, entry]);
				write(storage, key, "", me());
			}
		}
		for (const [key, entry] of before) put({ ...entry, error: entry.error || errorOf(key, entry) });
	}

	function changed({ key, newValue }) {
		if (!owns(key)) return false;
		const entry = entries.get(key.slice(prefix.length));
		if (newValue)
			read(
				tried(() => JSON.parse(newValue)),
				entry ? entry.due : Date.now() + ELSEWHERE,
			);
		else if (entry?.error) entries.delete(entry.clientId); // discarded there
		return true;
	}

	const owns = (key) => Boolean(prefix && key?.startsWith(prefix));
	return { open, put, add, remove, changed, owns, inOrder, get: (id) => entries.get(id), isKept: () => !loose.size };
}

/** The stored entries of a user, oldest first, with `key` and `conversationId`. */
function listKept(storage, user) {
	const keys = keysOf(storage).filter((key) => key.startsWith(`qader-chat:${user.id}:`));
	const kept = keys.map((key) => ({ ...parsed(storage, key), key, conversationId: Number(key.split(":")[2]) }));
	return kept.filter(({ content }) => content).sort((one, other) => one.at - other.at);
}

/** The unacknowledged messages of a user's conversations in this browser. */
export function listUnsent(user, options) {
	const kept = listKept(surroundings(options).storage, user);
	return kept.map(({ conversationId, clientId, content, at }) => ({ conversationId, clientId, content, at }));
}

/** Where a draft is kept. */
export const draftKey = (user, conversationId) => `qader-draft:${user.id}:${conversationId}`;

export const readDraft = (key, options) => tried(() => surroundings(options).storage.getItem(key)) ?? "";

export const keepDraft = (key, text, options) => write(surroundings(options).storage, key, text);

/** Sends over REST what is kept for conversations without an open chat; `isMentor` and `find` tell which there are. */
function createCourier({ storage }, { getSnapshot, from }, api, { isMentor, find, failed }) {
	const timer = createTimer();
	let isBusy = false;
	let tries = 0;

	const isOwned = (key) => [...neighbours].some((one) => one.storage === storage && one.owns?.(key));
	const isDue = ({ key, at }) => !isOwned(key) && Math.abs(Date.now() - at) >= ELSEWHERE;
	const later = (milliseconds) => timer(from(deliver), milliseconds);

	async function deliver() {
		const { user, status } = getSnapshot();
		if (isBusy || !user || (status !== "open" && status !== "polling")) return;
		isBusy = true;
		try {
			for (const entry of listKept(storage, user)) {
				const conversation = find(entry.conversationId);
				if (entry.error || !conversation || !parsed(storage, entry.key)) continue; // gone meanwhile
				if (isDue(entry)) await post({ after: conversation.last_message?.id ?? 0, ...entry });
				else later(ELSEWHERE);
			}
			tries = 0;
		} catch (error) {
			if (!(error instanceof ApiError) || error.status === 401) return failed(error);
			tries += 1;
			later(Math.max(error.retryAfter * 1000, Math.min(LONGEST_WAIT, REPEAT * 2 ** tries)));
		} finally {
			isBusy = false;
		}
	}

	async function post({ key, conversationId, ...entry }) {
		write(storage, key, JSON.stringify(entry));
		try {
			await postMessage(api, isMentor(), conversationId, entry);
			write(storage, key, "");
		} catch (error) {
			const refusal = refusalOf(error);
			if (!refusal) throw error;
			write(storage, key, JSON.stringify({ ...entry, error: refusal }));
		}
	}

	return { deliver: from(deliver), later: () => later(ELSEWHERE) };
}

/** Why REST will never store this message; undefined if it may. */
function refusalOf({ status, code }) {
	if (REFUSALS.includes(code)) return code;
	return { 400: "invalid_characters", 404: "conversation_closed", 413: "message_too_long" }[status];
}

// --- chat

/** What is left of a person who is erased. */
const nameless = (profile) => profile && { ...profile, full_name: "", username: "", email: "" };

/** A student's conversation, or with `conversationId` a mentor's. */
export function createChat(options = {}) {
	const { conversationId, user = null, conversation = null, presence = true } = options;
	const socketPath = conversationId ? `conversations/${conversationId}/` : "my-conversation/";
	const restPath = messagesPath(conversationId, conversationId);
	const env = surroundings(options);
	const api = createApi(env);
	const shown = { user, conversation, messages: [], hasOlder: false, isLoadingOlder: false, typing: false };
	const store = createStore({ ...shown, presence: null, delay: null, isKept: true });
	const { set, getSnapshot, from, to } = store;
	const outbox = createOutbox(env.storage, () => line.neighbour);
	const gone = conversationId ? "not_allowed" : "no_mentor";
	const sure = user && conversation;
	const parts = { identify, address, onFrame, lost, awake: mark, leaving, stored, owns: outbox.owns, gone, poll, sure };
	const line = createLine(env, store, parts);
	let entered; // id of the conversation
	let messages = []; // the server's, in order
	let through; // up to this id there are no gaps: after it, only answers to own sends over REST
	let after; // what the socket resumes after
	let early = null; // frames before the history
	let readUpTo; // the last own and received id that is read
	let underWay = null; // the client id that waits for an answer
	let seen = 0; // the newest message that was visible
	let page = PAGE; // smaller after requests without an answer
	let typedAt = 0;
	let markTimer;
	const timer = createTimer();
	const typingTimer = createTimer();
	const waitForAnswer = (call, milliseconds) => timer(call && from(call), milliseconds);

	async function identify() {
		const [user, all] = await Promise.all([api.me(), listConversations(api, conversationId)]);
		const conversation = all.find(({ id }) => !conversationId || id === Number(conversationId));
		if (!conversation) throw new ApiError(404);
		return { user, conversation };
	}

	function open() {
		if (getSnapshot().user) place();
		show();
		line.common.open();
	}

	/** Resume where a gap may begin (0: at the beginning), after a reload where the outbox was tried first. */
	function address() {
		if (entered !== getSnapshot().conversation.id) enter();
		after = getSnapshot().isLoaded ? through : outbox.inOrder()[0]?.after;
		return `${socketPath}?mark_read=false&events=1${presence ? "&presence=1" : ""}${after >= 0 ? `&after=${after}` : ""}`;
	}

	function enter() {
		entered = getSnapshot().conversation.id;
		messages = [];
		readUpTo = { own: 0, received: 0 };
		seen = through = 0;
		place();
		show({ isLoaded: false, hasOlder: false });
	}

	/** Name the outbox by what is known; 0 is unknown. Texts for a former mentor fail: the next one must not get them. */
	function place() {
		const { user, conversation } = getSnapshot();
		const owner = String(user?.id ?? 0);
		const teacher = conversation?.teacher_profile.user_id;
		const isUnknown = (key) => key.split(":").slice(1, 3).includes("0");
		const errorOf = (key, entry) => {
			const isFor = isUnknown(key) && (!teacher || !entry.to || entry.to === teacher);
			return isFor ? null : "conversation_closed";
		};
		const adopts = (key) => {
			const [kind, by, id] = key.split(":");
			if (kind !== "qader-chat" || !conversation) return false;
			return by === "0" ? id === `${conversationId ?? 0}` : by === owner && !conversationId;
		};
		outbox.open(`qader-chat:${owner}:${conversationId ?? conversation?.id ?? 0}:`, errorOf, adopts);
	}

	// Receiving.

	function onFrame(frame) {
		const { type } = frame;
		if (frame.error) refused(frame);
		else if (type === "connection_established") established(frame);
		else if (type === "resume_complete") resumed(frame);
		else if (type === "presence") set({ presence: frame });
		else if (type === "conversation_state") stateChanged(frame);
		else if (type === "typing") showTyping(frame.is_typing);
		else if (frame.message || frame.message_ids) {
			if (early) early.push(frame);
			else apply([frame]);
		}
	}

	function stateChanged({ is_active, is_locked }) {
		set({ conversation: { ...getSnapshot().conversation, is_active, is_locked } });
	}

	function established({ conversation_id }) {
		early = [];
		if (conversation_id !== `${entered}`) return line.drop(4403); // another mentor or user since `identify`
		line.prove();
		if (!(after >= 0)) load();
	}

	function resumed({ recovered, read_up_to }) {
		readUpTo.own = Math.max(readUpTo.own, read_up_to);
		if (!recovered || !getSnapshot().isLoaded) return load();
		ready();
		if (messages.every(({ state, is_read }) => state !== "received" || is_read)) return;
		const isShown = ({ id }) => id <= lastOf(messages).id;
		line.request(history(LARGEST_PAGE), ({ results }) => show({}, results.filter(isShown))); // read in another tab?
	}

	async function history(limit, before = "") {
		const answer = await api.get(`${restPath}?mark_read=false&limit=${limit}${before}`).catch((error) => {
			if (!error.status) page = Math.max(SMALLEST_PAGE, page >> 1);
			throw error;
		});
		if (!Array.isArray(answer.results)) throw new ApiError(0);
		return answer;
	}

	/** The newest messages, as far back as the first unread one. */
	async function unread(limit) {
		let { results, previous } = await history(limit);
		while (previous !== null && results.length < FAR && results[0]?.is_own_message === false && !results[0].is_read) {
			const older = await history(LARGEST_PAGE, `&before=${results[0].id}`).catch(() => null);
			if (!older?.results.length) break; // the reader comes to them later
			results = [...older.results, ...results];
			previous = older.previous;
		}
		return { results, previous };
	}

	/** Fetch the newest messages; frames wait. If there is a gap before them, they replace what is older. */
	function load(limit = through ? NEWEST : page) {
		line.request(limit < page ? history(limit) : unread(limit), ({ results, previous }) => {
			const isNew = !(results[0]?.id <= through);
			if (isNew && through && limit < page) return load(page);
			if (isNew) {
				messages = messages.filter(({ id }) => id > through && !(id < results[0]?.id)); // sent meanwhile
				show({ hasOlder: previous !== null }, results, 0);
			}
			ready({ isLoaded: true }, results);
		});
	}

	/** Without a socket. A student may have got another mentor, whose messages would have the same path. */
	function poll() {
		if (conversationId) load();
		else
			line.request(api.get("chat/my-conversation/"), (conversation) => {
				if (conversation.id !== entered) return line.drop(4403);
				set({ conversation });
				load();
			});
	}

	function ready(changes, news = []) {
		const frames = early ?? [];
		const before = through;
		early = null;
		reach(lastOf(news));
		apply(frames, changes, news);
		line.ready(through !== before);
		pump();
		mark();
	}

	function reach(message) {
		if (message?.id > through) through = message.id;
	}

	function apply(frames, changes, news = []) {
		for (const { type, message, client_id: clientId, message_ids = [], reader } of frames) {
			if (type === "messages_erased") {
				erase(message_ids, news);
				continue;
			}
			const whose = reader === getSnapshot().user.id ? "received" : "own";
			readUpTo[whose] = Math.max(readUpTo[whose], ...message_ids);
			if (type === "new_message") reach(message);
			if (message) news.push({ ...message, clientId });
			if (message?.is_own_message === false) showTyping();
			if (clientId) outbox.remove(clientId);
			if (clientId === underWay) answered();
		}
		show(changes, news);
		pump();
	}

	/** Take the text off these messages, of the list and of the news, and their sender's name, also off the conversation. */
	function erase(ids, news) {
		let person;
		const without = (message) => {
			if (!ids.includes(message?.id)) return message;
			person = nameless(message.sender_profile);
			return { ...message, sender_profile: person, content: "", is_erased: true };
		};
		messages = messages.map(without);
		news.splice(0, news.length, ...news.map(without));
		const { conversation } = getSnapshot();
		const side = ["student_profile", "teacher_profile"].find((side) => conversation[side].user_id === person?.user_id);
		if (side) set({ conversation: { ...conversation, [side]: person } });
	}

	function showTyping(typing = false) {
		typingTimer(typing && from(() => showTyping()), TYPING_IN);
		set({ typing });
	}

	function lost(code) {
		early = null;
		if (code === 1009) failed("message_too_long");
		answered();
		showTyping();
		set({ presence: null });
	}

	// Showing.

	/** Merge `news` into the list, except messages from before `oldest`, and what is no message. */
	function show(changes, news = [], oldest = messages[0]?.id ?? 0) {
		const byId = new Map(messages.map((message) => [message.id, message]));
		for (const message of news)
			if (message?.id >= oldest && typeof message.content === "string")
				byId.set(message.id, dressed(message, byId.get(message.id)));
		messages = [...byId.values()].map((message) => dressed(message, message)).sort((one, other) => one.id - other.id);
		set({ ...changes, isKept: outbox.isKept(), messages: [...messages, ...unanswered().map(pending)] });
	}

	function dressed(found, known) {
		const message = known?.is_erased ? known : found; // an answer from before must not bring its text back
		const { id, is_own_message: isOwn } = message;
		const is_read = found.is_read || id <= readUpTo[isOwn ? "own" : "received"];
		const clientId = message.clientId ?? known?.clientId ?? null;
		const isKnown = known?.is_read === is_read && known.clientId === clientId && known.is_erased === message.is_erased;
		return isKnown ? known : dress({ ...message, is_read, clientId }, known?.key ?? clientId ?? `${id}`);
	}

	/** REST does not name client ids: a tried entry whose text came with the history is not shown again until answered. */
	function unanswered() {
		const entries = outbox.inOrder();
		const nameless = entries.length ? messages.filter((message) => message.is_own_message && !message.clientId) : [];
		return entries.filter(({ content, after, error }) => {
			const index = nameless.findIndex((message) => !error && message.id > after && message.content === content);
			if (index >= 0) nameless.splice(index, 1);
			return index < 0;
		});
	}

	function pending({ clientId, content, at, error = null }) {
		const { id: sender, profile: sender_profile } = getSnapshot().user ?? {};
		const timestamp = new Date(at + ahead).toISOString();
		const flags = { is_read: false, is_own_message: true, is_erased: false };
		const message = { id: null, sender, sender_profile, content, timestamp, ...flags };
		return { ...message, clientId, key: clientId, state: error ? "failed" : "sending", error };
	}

	async function loadOlder() {
		const { hasOlder, isLoadingOlder } = getSnapshot();
		if (!hasOlder || isLoadingOlder || !messages.length) return;
		const first = messages[0].id;
		set({ isLoadingOlder: true });
		try {
			const { results, previous } = await history(page, `&before=${first}`);
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
		if (!entered) place();
		add({ clientId, content: text, to: getSnapshot().user?.mentor?.user_id });
		return clientId;
	}

	function retry(clientId) {
		const entry = outbox.get(clientId);
		if (entry?.error) add({ ...entry, error: null, after: undefined });
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
		const { status } = getSnapshot();
		if (underWay || (status !== "open" && status !== "polling")) return;
		const next = outbox.inOrder().find(({ error, due }) => !error && !(due > Date.now()));
		if (!next) return;
		underWay = next.clientId;
		if (!(next.after >= 0)) outbox.put({ ...next, after: lastOf(messages)?.id ?? 0 });
		if (status === "polling") return post(next);
		line.send({ message: next.content, client_id: underWay });
		waitForAnswer(() => line.drop(), DEAD);
	}

	/** Send without a socket. */
	function post(entry) {
		const mine = entered;
		const { clientId } = entry;
		const sent = (message) => mine === entered && apply([{ message, client_id: clientId }]);
		const refused = (error) => mine === entered && underWay === clientId && notPosted(error);
		postMessage(api, conversationId, mine, entry).then(from(sent)).catch(from(refused));
		line.soon();
	}

	function notPosted(error) {
		const { status, code, retryAfter } = error;
		if (status === 404 || (status === 403 && !NOT_WRITABLE.includes(code))) line.drop(4403);
		else if (refusalOf(error)) failed(refusalOf(error));
		else if (status === 429 || status === 503) delayed(status === 429 ? "rate_limited" : code, retryAfter);
		else line.failed(error);
	}

	function answered() {
		if (getSnapshot().delay) set({ delay: null });
		waitForAnswer();
		underWay = null;
	}

	/** REFUSALS are always about a send. Others may be about a mark: repeating the send does no harm. */
	function refused({ code, retry_after }) {
		if (REFUSALS.includes(code)) failed(code);
		else if (retry_after || code === "temporarily_unavailable") delayed(code, retry_after);
	}

	function delayed(code, seconds) {
		set({ delay: code });
		waitForAnswer(repeat, seconds * 1000 || REPEAT);
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
		for (const { clientId } of messages) if (outbox.get(clientId)) outbox.remove(clientId); // answered before
		setTimeout(from(pump), 1.1 * ELSEWHERE);
		show();
	}

	function setTyping(isTyping) {
		if (isTyping ? Date.now() - typedAt < TYPING_OUT : !typedAt) return;
		typedAt = isTyping ? Date.now() : 0;
		line.send({ type: "typing", is_typing: isTyping });
	}

	function markVisible(messageId) {
		seen = Math.max(seen, messageId);
		if (!markTimer) markTimer = setTimeout(from(mark), COALESCE);
	}

	/** Mark at once what was seen: the timer may come too late. */
	function leaving() {
		if (markTimer) markSeen();
	}

	function mark() {
		if (!isHidden(env)) markSeen();
		else markTimer = null;
	}

	function markSeen() {
		clearTimeout(markTimer);
		markTimer = null;
		const last = lastOf(messages.filter(({ id, state }) => id <= seen && state === "received"));
		if (!last || last.is_read) return;
		if (getSnapshot().status !== "polling") return line.send({ type: "mark_read", message_id: last.id });
		const path = `chat/conversations/${entered}/mark-read/?message_id=${last.id}`;
		const marked = () => apply([{ message_ids: [last.id], reader: getSnapshot().user.id }]);
		api.post(path).then(from(marked), () => {}); // the next mark or poll tries again
	}

	function close() {
		if (!isHidden(env)) leaving();
		line.common.close();
	}

	const common = { ...line.common, open: to(open), close: to(close), report: reportBy(api) };
	return { ...common, send: to(send), retry: to(retry), discard: to(discard), loadOlder, setTyping, markVisible };
}

/** What the mentor of a conversation was told about the student. */
export function fetchHandoffNote(conversationId, options) {
	return createApi(surroundings(options)).get(`chat/teacher/conversations/${conversationId}/handoff-note/`);
}

/** Reports a message to the school's staff. */
function reportBy(api) {
	return (messageId, reason = null) => api.post(`chat/messages/${messageId}/report/`, { reason });
}

/** A stored message as a snapshot has it. */
function dress(message, key) {
	const state = !message.is_own_message ? "received" : message.is_read ? "read" : "sent";
	return { ...message, key, state, error: null };
}

// --- former mentors

/** A student's conversations with former mentors. */
export function listFormer(options) {
	return listAll(createApi(surroundings(options)), FORMER);
}

/** One of them. */
export function createFormerChat({ user, conversation, ...options }) {
	const api = createApi(surroundings(options));
	const path = `${FORMER}${conversation.id}/messages/?mark_read=false&limit=${PAGE}`;
	const shown = { user, conversation, messages: [], hasOlder: false, isLoadingOlder: false, typing: false };
	const store = createStore({ ...shown, presence: null, delay: null, isKept: true });
	const { set, getSnapshot, subscribe, from } = store;
	const timer = createTimer();
	let isOpen = false;
	let seen = 0;

	async function page(before) {
		const { results, previous } = await api.get(path + before);
		const { messages } = getSnapshot();
		const older = results.map((message) => dress({ ...message, clientId: null }, `${message.id}`));
		set({ messages: before ? [...older, ...messages] : older, hasOlder: previous !== null, isLoaded: true });
	}

	function open() {
		if (isOpen) return;
		isOpen = true;
		timer();
		set({ status: "connecting", reason: null, retryAt: null });
		page("").then(
			from(() => isOpen && set({ status: "open" })),
			from(failed),
		);
	}

	function failed({ status }) {
		if (!isOpen) return;
		isOpen = false;
		const reason = { 401: "signed_out", 403: "not_allowed", 404: "not_allowed" }[status];
		if (reason) return set({ status: "stopped", reason });
		set({ status: "waiting", reason: "unavailable", retryAt: Date.now() + DEAD });
		timer(from(open), DEAD);
	}

	function close() {
		isOpen = false;
		timer();
		set({ status: "stopped", reason: "closed" });
	}

	async function loadOlder() {
		const { hasOlder, isLoadingOlder, messages } = getSnapshot();
		if (!hasOlder || isLoadingOlder) return;
		set({ isLoadingOlder: true });
		try {
			await page(`&before=${messages[0].id}`);
		} finally {
			set({ isLoadingOlder: false });
		}
	}

	function markVisible(messageId) {
		const isUnread = ({ id, state, is_read }) => id <= messageId && state === "received" && !is_read;
		if (messageId <= seen || !getSnapshot().messages.some(isUnread)) return;
		seen = messageId;
		api.post(`chat/conversations/${conversation.id}/mark-read/?message_id=${messageId}`).catch(() => {
			seen = 0; // the next call tries again
		});
	}

	const nothing = () => null;
	const readOnly = { send: nothing, retry: nothing, discard: nothing, setTyping: nothing };
	return { getSnapshot, subscribe, open, close, loadOlder, markVisible, report: reportBy(api), ...readOnly };
}

// --- inbox

/** All conversations of a user, newest activity first; in the end those without a message, which may just have been made. */
export function createInbox(options = {}) {
	const env = surroundings(options);
	const api = createApi(env);
	const { user = null } = options;
	const store = createStore({ user, conversations: [], unreadTotal: 0, kept: new Map() });
	const { set, getSnapshot, from, to } = store;
	const identify = async () => ({ user: await api.me() });
	const parts = { identify, address: () => "inbox/", onFrame, stored, gone: "no_mentor", poll: load, sure: user };
	const line = createLine(env, store, parts);
	const find = (id) => getSnapshot().conversations.find((one) => one.id === id);
	const courier = createCourier(env, store, api, { isMentor, find, failed: line.failed });
	const keptTimer = createTimer();
	let early = null; // updates from before the list

	function isMentor() {
		return getSnapshot().user.profile?.role !== "STUDENT";
	}

	function open() {
		if (getSnapshot().user) readKept();
		line.common.open();
	}

	function onFrame({ type, conversation }) {
		if (type === "inbox_established") load();
		else if (type === "conversation_update") {
			if (early) early.push(conversation);
			else show([conversation]);
		}
	}

	function load() {
		early = [];
		line.requestMine(listConversations(api, isMentor()), (listed) => {
			const before = newest();
			show([...listed, ...early], []);
			early = null;
			line.ready(newest() !== before);
			readKept();
			courier.deliver();
		});
	}

	const newest = () => getSnapshot().conversations[0]?.updated_at;
	const activityOf = ({ last_message, updated_at }) => `${last_message ? 1 : 0} ${updated_at}`;

	function show(news, old = getSnapshot().conversations) {
		const known = news.filter((conversation) => conversation?.id > 0);
		const byId = new Map([...old, ...known].map((conversation) => [conversation.id, conversation]));
		const conversations = [...byId.values()].sort((one, other) => (activityOf(one) < activityOf(other) ? 1 : -1));
		const unreadTotal = conversations.reduce((sum, one) => sum + one.unread_message_count_for_user, 0);
		set({ conversations, unreadTotal, isLoaded: true });
	}

	/** Nobody waits there until the student writes again. A newer state may have come before the answer. */
	async function done(id) {
		const answer = await api.post(`chat/conversations/${id}/done/`);
		const { isLoaded } = getSnapshot();
		const known = find(answer.id);
		if (isLoaded && !(known?.updated_at > answer.updated_at)) show([answer]);
	}

	function stored({ key }) {
		const { user } = getSnapshot();
		if (!user || !/^qader-(chat|draft):/.test(key) || key.split(":")[1] !== `${user.id}`) return;
		keptTimer(from(readKept), COALESCE);
		if (key.startsWith("qader-chat:")) courier.later();
	}

	/** What this browser keeps of each conversation. */
	function readKept() {
		const { user } = getSnapshot();
		const kept = new Map();
		const of = (id) => kept.get(id) ?? kept.set(id, { draft: "", sending: 0, failed: 0 }).get(id);
		for (const { conversationId, error } of listKept(env.storage, user))
			of(conversationId)[error ? "failed" : "sending"] += 1;
		for (const key of keysOf(env.storage)) {
			const draft = key.startsWith(draftKey(user, "")) ? readDraft(key, env) : "";
			if (draft.trim()) of(Number(key.split(":")[2])).draft = draft;
		}
		set({ kept });
	}

	return { ...line.common, open: to(open), done };
}
