/** A backend whose answers and frames the test decides, and a clock that the test moves. */

import { createChat, createInbox } from "../../chat/static/chat/client.js";
import { Origin } from "./page.js";

const person = (user_id, role) => ({ user_id, full_name: role, username: role, email: `${role}@example.org`, role });
const STUDENT = person(1, "STUDENT");
const TEACHER = person(2, "TEACHER");
export const ME = { id: 11, username: "STUDENT", email: STUDENT.email, profile: STUDENT, mentor: TEACHER };
export const CONVERSATION = {
	id: 7,
	student_profile: STUDENT,
	teacher_profile: TEACHER,
	created_at: "2026-01-01T00:00:00Z",
	updated_at: "2026-01-01T00:00:00Z",
	last_message: null,
	unread_message_count_for_user: 0,
	is_active: true,
	waiting_since: null,
};

/** A message as the student sees it: their own, or the teacher's. */
export const message = (id, content = String(id), rest = {}) => ({
	id,
	sender: 11,
	sender_profile: STUDENT,
	content,
	timestamp: "2026-01-01T00:00:00.000001Z",
	is_read: false,
	is_own_message: true,
	...rest,
});
export const theirs = (id, rest = {}) =>
	message(id, String(id), { sender: 12, sender_profile: TEACHER, is_own_message: false, ...rest });

/** Wait until all promises that can settle have settled. */
export const settle = async () => {
	for (let turn = 0; turn < 10; turn += 1) await new Promise(setImmediate);
};

class ScriptedSocket {
	readyState = 0;
	said = [];

	constructor(script, url) {
		this.url = url;
		this.query = new URL(url).searchParams;
		script.sockets.push(this);
	}

	send(text) {
		this.said.push(JSON.parse(text));
	}

	close() {
		this.readyState = 3;
	}

	/** The server accepts the socket and sends these frames. */
	accept(...frames) {
		this.readyState = 1;
		this.onopen?.({});
		this.say({ type: "connection_established", conversation_id: "7", room_group_name: "chat_7" }, ...frames);
	}

	say(...frames) {
		for (const frame of frames) this.onmessage?.({ data: JSON.stringify(frame) });
	}

	/** The server or the network closes it. */
	end(code) {
		this.readyState = 3;
		this.onclose?.({ code });
	}
}

export class Script {
	sockets = [];
	requests = []; // paths of GET
	posts = []; // of POST, apart from those of sessions: {path, body}
	tab = new Origin().tab();
	/** The answers of REST by path, "POST path" first: an object, `{status, body}`, an Error, or a promise of one of these. */
	answers = {
		"auth/me/": ME,
		"chat/my-conversation/": CONVERSATION,
		"chat/my-conversation/messages/": { results: [], previous: null, next: null },
		"chat/teacher/conversations/": { results: [CONVERSATION], previous: null, next: null },
		"chat/teacher/conversations/7/messages/": { results: [], previous: null, next: null },
	};

	constructor(test, { random = 1 } = {}) {
		this.test = test;
		test.mock.timers.reset();
		test.mock.timers.enable({ apis: ["setTimeout", "Date"], now: Date.UTC(2026, 0, 1) });
		test.mock.method(Math, "random", () => random);
	}

	get options() {
		const script = this;
		return {
			baseUrl: "http://chat.test",
			fetch: (...request) => this.#respond(...request),
			WebSocket: class extends ScriptedSocket {
				constructor(url) {
					super(script, url);
				}
			},
			...this.tab.options,
		};
	}

	async #respond(...request) {
		const { status, text } = await this.answerTo(...request);
		return new Response(text, { status });
	}

	/** What REST answers: `{status, text}`. */
	async answerTo(url, { method = "GET", body: sent } = {}) {
		const { pathname, search } = new URL(url);
		const path = pathname.replace("/api/v1/", "");
		if (method === "GET" && path !== "auth/csrf/") this.requests.push(path + search);
		else if (!path.startsWith("auth/")) this.posts.push({ path: path + search, body: JSON.parse(sent) });
		const answer = await (this.answers[`${method} ${path}`] ?? this.answers[path]);
		if (answer instanceof Error) throw answer;
		const { status = 200, body = answer } = answer ?? { status: 404, body: {} };
		return { status, text: typeof body === "string" ? body : JSON.stringify(body) };
	}

	get socket() {
		return this.sockets.at(-1);
	}

	/** Move the clock. */
	async pass(milliseconds) {
		this.test.mock.timers.tick(milliseconds);
		await settle();
	}

	async chat(options = {}) {
		return this.#opened(createChat({ ...this.options, ...options }));
	}

	async inbox(options = {}) {
		return this.#opened(createInbox({ ...this.options, ...options }));
	}

	async #opened(store) {
		this.test.after(store.close);
		store.open();
		await this.pass(0);
		return store;
	}

	/** A chat that is connected and shows these messages. */
	async openChat(...results) {
		this.answers["chat/my-conversation/messages/"] = { results, previous: null, next: null };
		const chat = await this.chat();
		this.socket.accept();
		await settle();
		return chat;
	}

	/** Reconnect and resume after the last shown message. */
	async back(...frames) {
		await this.pass(30_000);
		this.socket.accept(...frames);
		if (this.socket.query.has("after"))
			this.socket.say({ type: "resume_complete", recovered: true, count: frames.length, read_up_to: null });
		await settle();
	}
}

export const shown = (chat) => {
	const { status, reason } = chat.getSnapshot();
	return reason ? [status, reason] : [status];
};
