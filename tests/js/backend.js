/**
 * A real server process, its users and their clients. `tests/e2e/test_client.py` passes the settings in `QADER_TEST`:
 * `{python, root, environment, pairs}`.
 */

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { promisify } from "node:util";
import WebSocketOfPackage from "ws";

import { createApi, createChat, createInbox } from "../../chat/static/chat/client.js";
import { Origin } from "./page.js";
import { TcpProxy } from "./proxy.js";

const given = JSON.parse(process.env.QADER_TEST);
const SECONDS = 40; // enough for a busy machine

export const pairs = given.pairs;
/** A student and their mentor, used by no other test: `{student, teacher, conversation_id}`. */
export const newPair = () => pairs.pop();

export class Backend {
	log = "";

	constructor(settings = {}) {
		this.settings = settings;
	}

	get url() {
		return `http://127.0.0.1:${this.port}`;
	}

	async start() {
		this.port ??= await freePort();
		const options = { cwd: given.root, env: { ...given.environment, ...this.settings } };
		this.process = spawn(given.python, ["-m", "qader.serve", "--port", String(this.port)], options);
		const listens = new Promise((resolve, reject) => {
			const hear = (bytes) => {
				this.log += bytes;
				if (String(bytes).includes("listens on")) resolve();
			};
			this.process.stdout.on("data", hear);
			this.process.stderr.on("data", hear);
			this.process.on("exit", () => reject(new Error(this.log)));
		});
		await listens;
		return this;
	}

	/** End it: SIGTERM as a deployment does, SIGKILL as a failing machine. */
	async stop(signal = "SIGTERM") {
		if (this.process.exitCode !== null || this.process.signalCode !== null) return;
		const ended = once(this.process, "exit");
		this.process.kill(signal);
		await ended;
	}

	kill = () => this.stop("SIGKILL");
}

/** A proxy before the backend, for this test only. */
export async function proxyOf(test, backend) {
	const proxy = new TcpProxy(backend.port);
	test.after(() => proxy.stop());
	return proxy.start();
}

async function freePort() {
	const server = createServer().listen(0, "127.0.0.1");
	await once(server, "listening");
	const { port } = server.address();
	server.close();
	await once(server, "close");
	return port;
}

/** Run Python where Django is set up, with `Conversation`, `Message`, `User`, `UserProfile`, `services`; returns its output. */
export async function django(code) {
	const imports = "from accounts.models import *; from chat.models import *; from chat import services";
	const run = promisify(execFile);
	const options = { cwd: given.root, env: given.environment };
	const done = await run(given.python, ["manage.py", "shell", "--no-imports", "-c", `${imports}\n${code}`], options);
	return done.stdout;
}

/** The options of a client that is signed in as this person. `server` is a backend or a proxy. */
export function signedIn(person, server, { tab = new Origin().tab(), ...options } = {}) {
	const cookie = `sessionid=${person.session_key}; csrftoken=0123456789abcdef0123456789abcdef`;
	const headers = { cookie, origin: server.url };
	const Socket = globalThis.WebSocket ?? WebSocketOfPackage; // Node 20 has none
	const sockets = [];
	return {
		baseUrl: server.url,
		fetch: (url, init) => fetch(url, { ...init, headers: { ...init.headers, ...headers } }),
		WebSocket: class extends Socket {
			constructor(url) {
				super(url, { headers });
				sockets.push(this);
			}
		},
		sockets,
		...tab.options,
		...options,
	};
}

/** This person's conversation, open until the test ends. */
export function chatOf(test, person, server, options = {}) {
	const id = person.path.match(/\d+/)?.[0];
	const chat = createChat({ ...signedIn(person, server, options), ...(id && { conversationId: Number(id) }) });
	return opened(test, chat);
}

export const inboxOf = (test, person, server, options) => opened(test, createInbox(signedIn(person, server, options)));
export const apiOf = (person, server) => createApi(signedIn(person, server));

function opened(test, store) {
	test.after(store.close);
	store.open();
	return store;
}

/** Wait for a snapshot for which `isSo` is true; returns it. */
export async function until(store, isSo, seconds = SECONDS) {
	const from = new Error("was waited for here");
	return new Promise((resolve, reject) => {
		const look = () => {
			if (!isSo(store.getSnapshot())) return;
			clearTimeout(timer);
			unsubscribe();
			resolve(store.getSnapshot());
		};
		const late = () => {
			unsubscribe();
			const { messages, conversations, ...rest } = store.getSnapshot();
			const shown = messages?.map(({ content, state, error }) => [content, state, error]) ?? conversations;
			reject(
				new Error(`it did not come to that: ${JSON.stringify([rest.status, rest.reason, shown])}`, { cause: from }),
			);
		};
		const timer = setTimeout(late, seconds * 1000);
		const unsubscribe = store.subscribe(look);
		look();
	});
}

export const isOpen = ({ status }) => status === "open";
export const texts = ({ messages }) => messages.map(({ content }) => content);
export const shows =
	(...wanted) =>
	(snapshot) =>
		JSON.stringify(texts(snapshot)) === JSON.stringify(wanted);
export const settled = ({ messages }) => messages.every(({ id }) => id !== null);
export const numbers = (count, from = 1) => Array.from({ length: count }, (_, index) => String(from + index));

/** The texts that the server has stored in this person's conversation, oldest first. */
export async function stored(person, server) {
	const { get } = apiOf(person, server);
	const path = person.path.startsWith("my") ? "chat/my-conversation/" : `chat/teacher/${person.path}`;
	const all = [];
	for (let page = 1, next = true; next; page += 1) {
		const answer = await get(`${path}messages/?page_size=200&page=${page}&mark_read=false`);
		all.push(...answer.results);
		next = answer.next;
	}
	return all.map(({ content }) => content);
}

/**
 * Check each snapshot: messages in order, pending ones last, none shown twice. Returns a function that asserts that no
 * snapshot broke this.
 */
export function watched(chat) {
	const faults = [];
	const look = () => {
		const { messages } = chat.getSnapshot();
		const ids = messages.map(({ id }) => id).filter((id) => id !== null);
		const keys = messages.map(({ key }) => key);
		if (ids.some((id, index) => index && id <= ids[index - 1])) faults.push(`not in order: ${ids}`);
		if (new Set(keys).size !== keys.length) faults.push(`keys twice: ${keys}`);
		if (messages.some(({ id }, index) => id !== null && index && messages[index - 1].id === null))
			faults.push("pending first");
		const contents = texts({ messages });
		if (new Set(contents).size !== contents.length) faults.push(`shown twice: ${contents}`);
	};
	chat.subscribe(look);
	return () => assert.deepEqual([...new Set(faults)], []);
}
