/** When the client connects, waits and gives up, with a clock that the test moves. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { createApi, createChat } from "../../chat/static/chat/client.js";
import { CONVERSATION, ME, message, Script, settle, shown, theirs } from "./script.js";

test("the addresses are those of the page, unless options name others", async (t) => {
	const script = new Script(t);
	const page = { baseUrl: undefined, user: ME, conversation: CONVERSATION };
	t.after(() => delete globalThis.location);
	globalThis.location = { href: "https://qader.vip/chat?x=1" };
	await script.chat(page);
	globalThis.location = { href: "http://localhost:3000/" };
	await script.chat({ ...page, conversationId: 7, presence: false });
	await script.chat({ ...page, socketUrl: "http://localhost:8000" });
	await script.chat({ ...page, socketUrl: "wss://ws.qader.vip" });
	await script.inbox(page);
	assert.deepEqual(
		script.sockets.map(({ url }) => url),
		[
			"wss://qader.vip/ws/chat/my-conversation/?mark_read=false&events=1&presence=1",
			"ws://localhost:3000/ws/chat/conversations/7/?mark_read=false&events=1",
			"ws://localhost:8000/ws/chat/my-conversation/?mark_read=false&events=1&presence=1",
			"wss://ws.qader.vip/ws/chat/my-conversation/?mark_read=false&events=1&presence=1",
			"ws://localhost:3000/ws/chat/inbox/",
		],
	);
	assert.deepEqual(script.requests, []);
});

test("nothing happens before open(), and a strict React that opens twice connects once", async (t) => {
	const script = new Script(t);
	const chat = createChat(script.options);
	await script.pass(60_000);
	assert.deepEqual([shown(chat), script.requests], [["connecting"], []]);
	chat.open();
	chat.close();
	assert.deepEqual(shown(chat), ["stopped", "closed"]);
	chat.open();
	chat.open();
	await script.pass(0);
	assert.deepEqual([script.requests, script.sockets.length], [["auth/me/", "chat/my-conversation/"], 1]);
	script.socket.accept();
	await settle();
	assert.deepEqual(shown(chat), ["open"]);
	chat.close();
	assert.deepEqual([script.socket.readyState, shown(chat)], [3, ["stopped", "closed"]]);
	await script.pass(60_000);
	assert.equal(script.sockets.length, 1);
});

test("waits double from 0.5 s to 30 s, and start again after a stable connection", async (t) => {
	const script = new Script(t);
	const chat = await script.openChat(message(1));
	const waits = [];
	for (let n = 0; n < 8; n += 1) {
		script.socket.end(1006);
		const { status, reason, retryAt } = chat.getSnapshot();
		assert.deepEqual([status, reason], ["waiting", "unavailable"]);
		waits.push(retryAt - Date.now());
		await script.pass(waits.at(-1) - 1);
		assert.equal(script.sockets.length, n + 1);
		await script.pass(1);
		assert.equal(script.sockets.length, n + 2);
		script.socket.accept({ type: "resume_complete", recovered: true, count: 0, read_up_to: null });
		await script.pass(9_999); // not stable yet
	}
	assert.deepEqual(waits, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
	await script.pass(1);
	script.socket.end(1006);
	assert.equal(chat.getSnapshot().retryAt - Date.now(), 500);
});

test("waits start again after a stable connection that the browser or a failed request ended, too", async (t) => {
	const script = new Script(t);
	const chat = await script.openChat(message(1));
	for (let n = 0; n < 8; n += 1) {
		await script.pass(10_000);
		script.tab.offline();
		assert.equal(chat.getSnapshot().retryAt - Date.now(), 500);
		script.tab.online();
		script.socket.accept({ type: "resume_complete", recovered: true, count: 0, read_up_to: null });
	}
});

test("a wait is a random time between 0 and its limit", async (t) => {
	const script = new Script(t, { random: 0.25 });
	const chat = await script.openChat();
	script.socket.end(1006);
	assert.equal(chat.getSnapshot().retryAt - Date.now(), 125);
});

test("each close code has its meaning", async (t) => {
	const script = new Script(t);
	const chat = await script.openChat(message(1));
	for (const code of [1000, 1001, 1005, 1006, 1009, 1011, 1012, 1013, 4000]) {
		script.requests.length = 0;
		script.socket.end(code);
		assert.deepEqual([code, ...shown(chat)], [code, "waiting", "unavailable"]);
		await script.back();
		assert.deepEqual([code, ...shown(chat), script.socket.query.get("after")], [code, "open", "1"]);
		assert.deepEqual(script.requests, [], "the snapshot stood, and was resumed");
		await script.pass(10_000);
	}
	for (const code of [4403, 4404]) {
		script.requests.length = 0;
		script.socket.end(code);
		assert.deepEqual([code, ...shown(chat)], [code, "waiting", "unavailable"]);
		await script.back();
		assert.deepEqual([code, ...shown(chat)], [code, "open"]);
		assert.deepEqual(script.requests, ["auth/me/", "chat/my-conversation/"]);
		await script.pass(10_000);
	}
	script.socket.end(4429);
	assert.deepEqual([...shown(chat), chat.getSnapshot().retryAt - Date.now()], ["waiting", "too_many", 30_500]);
	script.tab.online();
	await script.pass(30_499);
	assert.deepEqual(shown(chat), ["waiting", "too_many"]);
	await script.pass(1);
	script.socket.accept({ type: "resume_complete", recovered: true, count: 0, read_up_to: null });
	const { length } = script.sockets;
	script.socket.end(4401);
	assert.deepEqual(shown(chat), ["stopped", "signed_out"]);
	await script.pass(600_000);
	script.tab.online();
	script.tab.show();
	await script.pass(600_000);
	assert.equal(script.sockets.length, length);
});

test("after a refused handshake the client asks REST for the reason", async (t) => {
	const cases = [
		[{ "auth/me/": { status: 401, body: {} } }, ["stopped", "signed_out"]],
		[{ "chat/my-conversation/": { status: 403, body: {} } }, ["stopped", "not_allowed"]],
		[{ "chat/my-conversation/": { status: 404, body: {} } }, ["stopped", "no_mentor"]],
		[{ "auth/me/": { ...ME, id: 99 } }, ["stopped", "signed_out"]],
		[{ "auth/me/": { status: 503, body: {} } }, ["waiting", "unavailable"]],
		[{ "auth/me/": { status: 502, body: "<html>" } }, ["waiting", "unavailable"]],
		[{ "auth/me/": { status: 200, body: "<html>" } }, ["waiting", "unavailable"]],
		[{ "auth/me/": new TypeError("Failed to fetch") }, ["waiting", "unavailable"]],
	];
	const script = new Script(t);
	for (const [answers, expected] of cases) {
		const chat = await script.openChat(message(1));
		script.socket.end(1006);
		await script.pass(500);
		const before = script.answers;
		script.answers = { ...before, ...answers };
		script.socket.end(1006); // before it was accepted
		await settle();
		assert.deepEqual(shown(chat), expected, JSON.stringify(answers));
		script.answers = before;
		chat.close();
	}
});

test("a mentor's conversation is found on any page of the list", async (t) => {
	const script = new Script(t);
	const chat = await script.chat({ conversationId: 7 });
	assert.deepEqual(chat.getSnapshot().conversation, CONVERSATION);
	const other = await script.chat({ conversationId: 8 });
	assert.deepEqual(shown(other), ["stopped", "not_allowed"]);
	assert.deepEqual(
		script.requests.filter((path) => path !== "auth/me/"),
		["chat/teacher/conversations/?page_size=200&page=1", "chat/teacher/conversations/?page_size=200&page=1"],
	);
});

test("going online or returning to the page ends the wait at once", async (t) => {
	const script = new Script(t);
	await script.openChat(message(1));
	for (const event of [() => script.tab.online(), () => script.tab.show()]) {
		const { length } = script.sockets;
		script.tab.hide();
		script.socket.end(1006);
		await script.pass(1);
		assert.equal(script.sockets.length, length);
		event();
		assert.equal(script.sockets.length, length + 1);
		script.socket.accept({ type: "resume_complete", recovered: true, count: 0, read_up_to: null });
		await script.pass(60_000);
		assert.equal(script.sockets.length, length + 1, "the wait is over, not doubled");
	}
});

test("a quiet connection is pinged, and a dead one is replaced", async (t) => {
	const script = new Script(t);
	const chat = await script.openChat(message(1));
	const [first] = script.sockets;
	await script.pass(24_999);
	assert.deepEqual(first.said, []);
	await script.pass(1);
	assert.deepEqual(first.said, [{ type: "ping" }]);
	first.say({ type: "pong" });
	await script.pass(25_000);
	assert.deepEqual(first.said, [{ type: "ping" }, { type: "ping" }]);
	await script.pass(9_999);
	assert.deepEqual(shown(chat), ["open"]);
	await script.pass(1);
	assert.deepEqual([shown(chat), first.readyState], [["waiting", "unavailable"], 3]);
	first.say({ type: "new_message", message: message(2) }); // the socket was alive, but the client has left it
	first.end(4401);
	assert.deepEqual([shown(chat), chat.getSnapshot().messages.length], [["waiting", "unavailable"], 1]);
});

test("on a return to the page, a dead connection is noticed within 4 s", async (t) => {
	const script = new Script(t);
	const chat = await script.openChat(message(1));
	script.tab.hide();
	assert.deepEqual(script.socket.said, []);
	script.tab.show();
	assert.deepEqual(script.socket.said, [{ type: "ping" }]);
	await script.pass(4_000);
	assert.deepEqual(shown(chat), ["waiting", "unavailable"]);
});

test("a connection without its history is closed and tried again", async (t) => {
	const script = new Script(t);
	script.answers["chat/my-conversation/messages/"] = {
		status: 503,
		body: { detail: "...", code: "temporarily_unavailable" },
	};
	const chat = await script.chat();
	script.socket.accept();
	await settle();
	assert.deepEqual([shown(chat), script.socket.readyState], [["waiting", "unavailable"], 3]);
	script.answers["chat/my-conversation/messages/"] = { status: 401, body: {} };
	await script.back();
	assert.deepEqual(shown(chat), ["stopped", "signed_out"]);
});

test("an answer that comes after its connection has ended is ignored", async (t) => {
	const script = new Script(t);
	const chat = await script.chat();
	script.answers["chat/my-conversation/messages/"] = { results: [theirs(1)], previous: null, next: null };
	script.socket.accept();
	script.socket.end(1006);
	await settle();
	assert.deepEqual([shown(chat), chat.getSnapshot().messages], [["waiting", "unavailable"], []]);
});

test("being offline is told at once, whether connected or not, and ended by the next connection", async (t) => {
	const script = new Script(t);
	const chat = await script.openChat(message(1));
	script.tab.offline();
	assert.deepEqual([shown(chat), script.socket.readyState], [["waiting", "offline"], 3]);
	script.answers["auth/me/"] = new TypeError("Failed to fetch");
	for (let n = 0; n < 5; n += 1) {
		await script.pass(16_000);
		if (script.socket.readyState === 0) script.socket.end(1006);
		await settle();
		assert.deepEqual(shown(chat), ["waiting", "offline"]);
	}
	script.answers["auth/me/"] = ME;
	script.tab.online();
	await settle();
	assert.deepEqual(shown(chat).slice(0, 1), ["connecting"]);
	script.socket.accept({ type: "resume_complete", recovered: true, count: 0, read_up_to: null });
	await settle();
	assert.deepEqual(shown(chat), ["open"]);
});

test("a browser that believes to be offline is not believed when a connection works", async (t) => {
	const script = new Script(t);
	script.tab.window.navigator = { onLine: false };
	const chat = createChat({ ...script.options, user: ME, conversation: CONVERSATION });
	t.after(chat.close);
	chat.open();
	assert.deepEqual(shown(chat), ["waiting", "offline"]);
	await script.pass(0);
	script.socket.accept();
	await settle();
	assert.deepEqual(shown(chat), ["open"]);
	script.socket.end(1006);
	assert.deepEqual(shown(chat), ["waiting", "unavailable"]);
});

test("a server that is away is told at once, at the start, too", async (t) => {
	const script = new Script(t);
	for (const answer of [new TypeError("Failed to fetch"), { status: 502, body: "<html>" }, { status: 503, body: {} }]) {
		script.answers["auth/me/"] = answer;
		const chat = await script.chat();
		assert.deepEqual([shown(chat), chat.getSnapshot().isLoaded], [["waiting", "unavailable"], false]);
	}
	script.answers["auth/me/"] = { status: 429, body: {} };
	assert.deepEqual(shown(await script.chat()), ["waiting", "too_many"]);
});

test("a server that does not answer is told within 2 s", async (t) => {
	const script = new Script(t);
	script.answers["auth/me/"] = new Promise(() => {});
	const chat = await script.chat();
	assert.deepEqual(shown(chat), ["connecting"]);
	await script.pass(1_500);
	assert.deepEqual(shown(chat), ["connecting", "unavailable"]);
});

test("a refused request is not repeated before the time that the server gave", async (t) => {
	const script = new Script(t);
	const fetch = async () => new Response("{}", { status: 429, headers: { "Retry-After": "20" } });
	const chat = await script.chat({ fetch });
	assert.equal(chat.getSnapshot().retryAt - Date.now(), 20_000);
});

/** REST whose answers come in pieces, when the test calls `piece`. */
function slowly(script, body) {
	const bytes = new TextEncoder().encode(JSON.stringify(body));
	const calls = [];
	const fetch = async (url, { signal }) => {
		const call = { url, signal, from: 0 };
		const stream = new ReadableStream({ start: (controller) => (call.controller = controller) });
		calls.push(call);
		call.piece = async (length) => {
			call.controller.enqueue(bytes.slice(call.from, call.from + length));
			call.from += length;
			if (call.from >= bytes.length) call.controller.close();
			await settle();
		};
		return new Response(stream, { status: 200 });
	};
	return { calls, fetch, length: bytes.length, options: { ...script.options, fetch } };
}

test("a slow answer is waited for as long as bytes come", async (t) => {
	const script = new Script(t);
	const rest = slowly(script, { results: [message(1, "سلام")], previous: null, next: null });
	const chat = await script.chat({ ...rest.options, user: ME, conversation: CONVERSATION });
	script.socket.accept();
	await settle();
	for (let n = 0; n < 12; n += 1) {
		await script.pass(10_000);
		script.socket.say({ type: "pong" });
		await rest.calls[0].piece(Math.ceil(rest.length / 12));
	}
	assert.deepEqual([shown(chat), chat.getSnapshot().messages[0].content], [["open"], "سلام"]);
	assert.equal(rest.calls.length, 1);
});

test("silence ends a request, and the next page is smaller", async (t) => {
	const script = new Script(t);
	const rest = slowly(script, { results: [], previous: null, next: null });
	const chat = await script.chat({ ...rest.options, user: ME, conversation: CONVERSATION });
	const limits = () => rest.calls.map(({ url }) => Number(new URL(url).searchParams.get("limit")));
	for (const expected of [50, 25, 12, 6, 5, 5]) {
		script.socket.accept();
		await settle();
		assert.equal(limits().at(-1), expected);
		await rest.calls.at(-1).piece(5);
		await script.pass(14_999);
		assert.deepEqual(shown(chat).slice(0, 1), ["connecting"]);
		await script.pass(1);
		assert.deepEqual([shown(chat), rest.calls.at(-1).signal.aborted], [["waiting", "unavailable"], true]);
		await script.pass(30_000);
	}
});

test("a request that neither answers nor can be aborted is given up, too", async (t) => {
	const script = new Script(t);
	const chat = await script.chat({ fetch: () => new Promise(() => {}) });
	await script.pass(14_999);
	assert.deepEqual(shown(chat), ["connecting", "unavailable"]);
	await script.pass(1);
	assert.deepEqual(shown(chat), ["waiting", "unavailable"]);
});

test("a wrong set-up is named to the developer, with its setting", async (t) => {
	const cases = [
		["http://cookies.test", async () => new Response("{}", { status: 401 }), /COOKIE_DOMAIN/],
		[
			"http://origin.test",
			async (_, { mode }) => {
				if (mode !== "no-cors") throw new TypeError("Failed to fetch");
				return new Response();
			},
			/CSRF_TRUSTED_ORIGINS/,
		],
		["ws://nothing.test", () => Promise.reject(new TypeError("Failed to fetch")), /socketUrl/],
		["wss://blocked.test", async () => new Response("{}"), null],
	];
	for (const [socketUrl, answer, expected] of cases) {
		const script = new Script(t);
		const [error, info] = ["error", "info"].map((name) => t.mock.method(console, name, () => {}).mock);
		const { fetch, ...options } = script.options;
		const isRest = (url) => url.startsWith("http://chat.test/");
		// As a browser's: it may not be called as a method of another object.
		function both(url, init) {
			if (this && this !== globalThis) throw new TypeError("Illegal invocation");
			return isRest(url) ? fetch(url, init) : answer(url, init);
		}
		for (const _ of [1, 2]) {
			await script.chat({ ...options, fetch: both, socketUrl });
			script.socket.end(1006);
			await settle();
		}
		const said = (expected ? error : info).calls.map(({ arguments: [text] }) => text);
		assert.equal(said.length, 1, "once");
		assert.match(said[0], expected ?? /although requests are answered/);
		assert.equal((expected ? info : error).callCount(), 0);
		t.mock.restoreAll();
	}
});

test("a sign-in is waited for longer: a whole class may come at once", async (t) => {
	const script = new Script(t);
	Object.assign(script.answers, { "auth/csrf/": { csrfToken: "t" }, "auth/login/": new Promise(() => {}) });
	let ended = false;
	const signingIn = assert.rejects(createApi(script.options).login("student1", "..."), { status: 0 });
	signingIn.then(() => (ended = true));
	await settle();
	await script.pass(24_999);
	assert.equal(ended, false);
	await script.pass(1);
	await signingIn;
});
