/** Odd frames, odd answers, listeners that fail, and browsers without newer functions: each takes only itself. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { createChat } from "../../chat/static/chat/client.js";
import { CONVERSATION, ME, message, Script, settle, shown, theirs } from "./script.js";

const HISTORY = "chat/my-conversation/messages/";
const ids = (chat) => chat.getSnapshot().messages.map(({ id }) => id);
const live = (message, rest) => ({ type: "new_message", message, ...rest });

/** What was reported to the developer. */
function reports(t) {
	const { mock } = t.mock.method(console, "error", () => {});
	return () => mock.calls.map(({ arguments: [error] }) => error.message ?? error);
}

test("a frame or message that makes no sense takes only itself", async (t) => {
	reports(t);
	const script = new Script(t);
	const odd = [null, 5, {}, { ...message(2), content: null }, { ...message(3), id: "x" }];
	script.answers[HISTORY] = { results: [message(1), ...odd, theirs(4)], previous: null, next: null };
	const chat = await script.chat();
	script.socket.accept();
	await settle();
	assert.deepEqual([shown(chat), ids(chat)], [["open"], [1, 4]]);
	for (const data of ["", "{", "null", "5", "[]", '"text"', '{"type": 5}', '{"type": "new_message", "message": 7}'])
		script.socket.onmessage({ data });
	script.socket.say(
		live(null),
		live({}),
		live({ id: 5 }),
		{ type: "update_message_status", message_ids: "all" },
		{ type: "update_message_status", message_ids: null },
		{ type: "resume_complete" },
		{ type: "typing" },
		{ error: "?" },
		live(theirs(6)),
	);
	await settle();
	assert.deepEqual([shown(chat), ids(chat)], [["open"], [1, 4, 6]]);
});

test("an answer of REST that makes no sense is tried again, not for ever waited for", async (t) => {
	reports(t);
	for (const body of [{}, [], { results: null }, { results: "x" }, "text"]) {
		const script = new Script(t);
		script.answers[HISTORY] = { status: 200, body };
		const chat = await script.chat();
		script.socket.accept();
		await settle();
		assert.deepEqual(shown(chat), ["waiting", "unavailable"], JSON.stringify(body));
		script.answers[HISTORY] = { results: [message(1)], previous: null, next: null };
		await script.back();
		assert.deepEqual([shown(chat), ids(chat)], [["open"], [1]]);
	}
});

for (const [when, isSo] of Object.entries({
	always: () => true,
	"on the first page": ({ isLoaded }) => isLoaded,
	"on an acknowledgement": ({ messages }) => messages.some(({ content, id }) => content === "a" && id),
	"while it connects": ({ status }) => status === "connecting",
	"while it waits": ({ status }) => status === "waiting",
}))
	test(`a listener that throws ${when} is reported, and stops nothing`, async (t) => {
		const told = reports(t);
		const script = new Script(t);
		const chat = createChat(script.options);
		t.after(chat.close);
		const [before, after] = [[], []];
		chat.subscribe(() => before.push(chat.getSnapshot()));
		chat.subscribe(() => {
			if (isSo(chat.getSnapshot())) throw new Error("the application's");
		});
		chat.subscribe(() => after.push(chat.getSnapshot()));
		chat.open();
		await script.pass(0);
		script.socket.accept(live(theirs(1)));
		await settle();
		assert.deepEqual([shown(chat), chat.getSnapshot().isLoaded], [["open"], true]);
		chat.send("a");
		chat.send("b");
		const [{ client_id }] = script.socket.said;
		script.socket.say(live(message(2, "a"), { client_id }));
		assert.deepEqual(
			script.socket.said.map(({ message }) => message),
			["a", "b"],
			"the next one was sent",
		);
		script.socket.end(1006);
		await script.back(live(theirs(3)));
		assert.deepEqual([shown(chat), ids(chat)], [["open"], [1, 2, 3, null]]);
		assert.deepEqual(after, before, "the listeners behind it heard everything, too");
		assert.deepEqual(new Set(told()), new Set(["the application's"]));
	});

for (const status of ["connecting", "open", "waiting", "polling"])
	test(`a listener may close it while it is ${status}: it stays closed`, async (t) => {
		const script = new Script(t);
		const chat = await script.chat();
		chat.close();
		chat.subscribe(() => chat.getSnapshot().status === status && chat.close());
		chat.open();
		await script.pass(0);
		if (status === "polling") script.socket.end(1006);
		else if (status !== "connecting") script.socket.accept();
		await settle();
		if (status === "waiting") script.socket.end(1006);
		await script.pass(120_000);
		script.tab.online();
		await script.pass(120_000);
		assert.deepEqual(shown(chat), ["stopped", "closed"]);
		assert.ok(script.sockets.every(({ readyState }) => readyState === 3));
	});

test("a listener may send, close and open again from within", async (t) => {
	const script = new Script(t);
	const chat = await script.openChat(theirs(1));
	let isFirst = true;
	chat.subscribe(() => {
		if (!isFirst || !ids(chat).includes(2)) return;
		isFirst = false;
		chat.send("an answer");
		chat.close();
		chat.open();
	});
	script.socket.say(live(theirs(2)));
	await script.pass(0);
	script.socket.accept({ type: "resume_complete", recovered: true, count: 0, read_up_to: null });
	await settle();
	assert.deepEqual([shown(chat), ids(chat)], [["open"], [1, 2, null]]);
	assert.equal(script.socket.said.at(-1).message, "an answer");
});

/** Newer than iOS 15.4, Chrome 109 or Firefox 115, or nearly so. */
const NEWER = [
	[AbortSignal, "timeout", "any", "abort"],
	[Array, "fromAsync"],
	[Array.prototype, "at", "findLast", "findLastIndex", "toSorted", "toReversed", "toSpliced", "with", "group"],
	[String.prototype, "at", "isWellFormed", "toWellFormed"],
	[Object, "groupBy", "hasOwn"],
	[Map, "groupBy"],
	[Promise, "withResolvers", "try"],
	[Set.prototype, "union", "difference", "intersection"],
	[URL, "canParse", "parse"],
	[Response, "json"],
	[crypto, "randomUUID"],
	[globalThis, "structuredClone", "reportError", "navigation", "scheduler"],
];

function takeAway(t) {
	const { hasOwn } = Object;
	for (const [of, ...names] of NEWER)
		for (const name of names) {
			let owner = of;
			while (owner && !hasOwn(owner, name)) owner = Object.getPrototypeOf(owner);
			if (!owner) continue;
			const property = Object.getOwnPropertyDescriptor(owner, name);
			t.after(() => Object.defineProperty(owner, name, property));
			Object.defineProperty(owner, name, { value: undefined, configurable: true, writable: true });
		}
}

test("the client works without any function that is newer than the oldest browsers supported", async (t) => {
	const script = new Script(t);
	script.answers[HISTORY] = { results: [message(1, "https://example.org/"), theirs(2)], previous: "...", next: null };
	// Node's own Response uses newer functions.
	const fetch = async (...request) => {
		const { status, text } = await script.answerTo(...request);
		return { ok: status < 400, status, headers: new Map(), body: null, text: async () => text };
	};
	const socket = () => script.sockets[script.sockets.length - 1];
	takeAway(t);
	const chat = createChat({ ...script.options, fetch });
	t.after(chat.close);
	chat.open();
	await script.pass(0);
	socket().accept();
	await settle();
	chat.markVisible(2);
	chat.setTyping(true);
	const clientId = chat.send("a");
	await script.pass(200);
	socket().say(live(message(3, "a"), { client_id: clientId }));
	await chat.loadOlder();
	socket().end(1006);
	await script.pass(30_000);
	socket().accept({ type: "resume_complete", recovered: true, count: 0, read_up_to: null });
	await settle();
	assert.deepEqual([shown(chat), ids(chat)], [["open"], [1, 2, 3]]);
	const inbox = await script.inbox({ user: ME, fetch });
	socket().say({ type: "inbox_established", unread_total: 0 });
	await settle();
	assert.deepEqual([shown(inbox), inbox.getSnapshot().conversations], [["open"], [CONVERSATION]]);
});
