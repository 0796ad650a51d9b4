/** Without WebSockets: REST stands in, and goes again when a socket works. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { CONVERSATION, ME, message, Script, settle, shown, theirs } from "./script.js";

const states = (chat) => chat.getSnapshot().messages.map(({ content, state }) => `${content} ${state}`);
const HISTORY = "chat/my-conversation/messages/";
const history = (...results) => ({ results, previous: null, next: null });
const never = new Promise(() => {});

/** A chat whose sockets are refused although REST answers. */
async function blockedChat(t, ...results) {
	const script = new Script(t);
	script.answers["auth/csrf/"] = { csrfToken: "t" };
	script.answers[HISTORY] = history(...results);
	const chat = await script.chat();
	script.socket.end(1006);
	await settle();
	return [script, chat];
}

test("refused sockets: the history comes by REST at once", async (t) => {
	const [script, chat] = await blockedChat(t, message(1), theirs(2));
	assert.deepEqual(
		[shown(chat), states(chat)],
		[
			["polling", "blocked"],
			["1 sent", "2 received"],
		],
	);
	assert.equal(chat.getSnapshot().isLoaded, true);
	assert.equal(chat.getSnapshot().retryAt - Date.now(), 500, "a socket is tried again");
	assert.deepEqual(script.requests, [
		"auth/me/",
		"chat/my-conversation/",
		"chat/my-conversation/",
		`${HISTORY}?mark_read=false&limit=50`,
	]);
});

test("sockets that are swallowed on the way: REST stands in within 2 s", async (t) => {
	const script = new Script(t);
	script.answers[HISTORY] = history(message(1));
	const chat = await script.chat();
	await script.pass(1_499);
	assert.deepEqual(shown(chat), ["connecting"]);
	await script.pass(1);
	assert.deepEqual([shown(chat), states(chat)], [["polling", "blocked"], ["1 sent"]]);
	const [first] = script.sockets;
	await script.pass(8_499);
	assert.deepEqual([script.sockets.length, first.readyState], [1, 0], "it may still open");
	await script.pass(1);
	assert.equal(first.readyState, 3);
	await script.pass(500);
	assert.equal(script.sockets.length, 2);
});

test("a socket that opens late takes over, and only news are fetched", async (t) => {
	const script = new Script(t);
	script.answers[HISTORY] = history(message(1));
	const chat = await script.chat();
	await script.pass(1_500);
	script.answers[HISTORY] = history(message(1), theirs(2));
	script.socket.accept({ type: "new_message", message: theirs(3) });
	await settle();
	assert.deepEqual([shown(chat), states(chat)], [["open"], ["1 sent", "2 received", "3 received"]]);
	assert.equal(script.requests.at(-1), `${HISTORY}?mark_read=false&limit=10`);
	const { length } = script.requests;
	await script.pass(20_000);
	assert.equal(script.requests.length, length, "nothing is polled any more");
});

test("news are polled for, ever more seldom while there are none, and sockets are tried again", async (t) => {
	const [script, chat] = await blockedChat(t, theirs(1));
	const polls = () => script.requests.filter((path) => path.startsWith(HISTORY)).length;
	const tried = script.sockets.length;
	script.answers[HISTORY] = history(theirs(1), theirs(2));
	await script.pass(2_000);
	assert.deepEqual(states(chat), ["1 received", "2 received"]);
	const before = polls();
	for (let n = 0; n < 120; n += 1) {
		await script.pass(1_000);
		if (script.socket.readyState === 0) script.socket.end(1006);
		await settle();
	}
	assert.ok(polls() - before >= 7 && polls() - before <= 14, `${polls() - before} polls in two minutes`);
	assert.ok(script.sockets.length > tried + 3);
	assert.deepEqual(shown(chat), ["polling", "blocked"]);
	await script.pass(60_000);
	script.socket.accept({ type: "resume_complete", recovered: true, count: 0, read_up_to: null });
	await settle();
	assert.deepEqual([shown(chat), script.socket.query.get("after")], [["open"], "2"]);
});

test("more news than a poll brings are fetched as a page", async (t) => {
	const [script, chat] = await blockedChat(t, theirs(1));
	script.answers[HISTORY] = history(...Array.from({ length: 10 }, (_, n) => theirs(n + 5)));
	await script.pass(2_000);
	assert.deepEqual(script.requests.slice(-2), [
		`${HISTORY}?mark_read=false&limit=10`,
		`${HISTORY}?mark_read=false&limit=50`,
	]);
	assert.equal(chat.getSnapshot().messages[0].id, 5, "there was a gap: the page replaces the list");
});

test("an own message sent over REST hides no earlier one of the other side: the socket resumes before both", async (t) => {
	const [script, chat] = await blockedChat(t, theirs(1, { is_read: true }));
	script.answers[`POST ${HISTORY}`] = message(3, "a");
	chat.send("a");
	await settle();
	assert.deepEqual(states(chat), ["1 received", "a sent"]);
	script.answers["chat/my-conversation/"] = never; // no poll is answered
	await script.pass(500);
	assert.equal(script.socket.query.get("after"), "1");
	script.socket.accept(...[theirs(2), message(3, "a")].map((one) => ({ type: "new_message", message: one })), {
		type: "resume_complete",
		recovered: true,
		count: 2,
		read_up_to: null,
	});
	await settle();
	assert.deepEqual([shown(chat), states(chat)], [["open"], ["1 received", "2 received", "a sent"]]);
	script.socket.end(1006);
	await script.pass(30_000);
	assert.equal(script.socket.query.get("after"), "3");
});

test("an own message sent over REST hides no gap before it: a poll fetches the page", async (t) => {
	for (const first of [[theirs(1)], []]) {
		const [script, chat] = await blockedChat(t, ...first);
		script.answers[`POST ${HISTORY}`] = message(30, "a");
		const clientId = chat.send("a");
		await settle();
		const news = Array.from({ length: 25 }, (_, n) => theirs(n + 5));
		const all = [...first, ...news, message(30, "a")];
		Object.defineProperty(script.answers, HISTORY, {
			get: () => history(...all.slice(-Number(script.requests.at(-1).match(/limit=(\d+)/)[1]))),
		});
		await script.pass(2_000);
		assert.deepEqual(
			chat.getSnapshot().messages.map(({ id }) => id),
			all.map(({ id }) => id),
		);
		assert.equal(chat.getSnapshot().messages.at(-1).key, clientId);
	}
});

test("messages are sent over REST, one after the other", async (t) => {
	const [script, chat] = await blockedChat(t, theirs(1));
	let answer;
	script.answers[`POST ${HISTORY}`] = new Promise((resolve) => (answer = resolve));
	["a", "b"].forEach(chat.send);
	await settle();
	assert.deepEqual(
		script.posts.map(({ body }) => body.content),
		["a"],
	);
	assert.deepEqual(states(chat), ["1 received", "a sending", "b sending"]);
	script.answers[`POST ${HISTORY}`] = message(3, "b");
	answer(message(2, "a"));
	await settle();
	assert.deepEqual(states(chat), ["1 received", "a sent", "b sent"]);
	assert.equal(script.tab.origin.items.size, 0);
	assert.deepEqual(
		script.sockets.map(({ said }) => said),
		[[]],
	);
});

test("a refusal over REST fails its message; what is temporary is repeated with the same client id", async (t) => {
	const [script, chat] = await blockedChat(t);
	const post = (status, code) => {
		script.answers[`POST ${HISTORY}`] = { status, body: { detail: "...", code } };
	};
	for (const [status, code, error] of [
		[400, "message_too_long", "message_too_long"],
		[400, "invalid_characters", "invalid_characters"],
		[403, "conversation_closed", "conversation_closed"],
		[413, null, "message_too_long"],
	]) {
		post(status, code);
		const clientId = chat.send("x");
		await settle();
		const { messages } = chat.getSnapshot();
		assert.deepEqual([messages.at(-1).state, messages.at(-1).error], ["failed", error]);
		chat.discard(clientId);
	}
	script.posts.length = 0;
	post(503, "temporarily_unavailable");
	chat.send("a");
	await settle();
	assert.equal(chat.getSnapshot().delay, "temporarily_unavailable");
	script.answers[`POST ${HISTORY}`] = message(1, "a");
	await script.pass(1_000);
	assert.deepEqual(states(chat), ["a sent"]);
	assert.equal(script.posts.length, 2);
	assert.equal(script.posts[0].body.client_id, script.posts[1].body.client_id);
});

test("a send that was stored without an answer is not shown twice", async (t) => {
	const [script, chat] = await blockedChat(t, theirs(1));
	const seen = [];
	chat.subscribe(() =>
		seen.push(
			chat
				.getSnapshot()
				.messages.map(({ content }) => content)
				.join(),
		),
	);
	script.answers[`POST ${HISTORY}`] = new TypeError("Failed to fetch");
	chat.send("a");
	await settle();
	assert.deepEqual(shown(chat), ["waiting", "unavailable"]);
	script.answers[HISTORY] = history(theirs(1), message(2, "a"));
	script.answers[`POST ${HISTORY}`] = message(2, "a");
	await script.pass(30_000);
	script.socket.end(1006);
	await settle();
	assert.deepEqual(states(chat), ["1 received", "a sent"]);
	assert.deepEqual([...new Set(seen)], ["1,a"]);
	assert.equal(script.tab.origin.items.size, 0);
});

test("a student's message is not posted to another mentor", async (t) => {
	const [script, chat] = await blockedChat(t, theirs(1));
	script.answers["chat/my-conversation/"] = { ...CONVERSATION, id: 8 };
	script.answers[HISTORY] = history();
	chat.send("for you alone");
	await settle();
	assert.deepEqual(script.posts, []);
	await script.pass(30_000);
	script.socket.end(1006);
	await settle();
	assert.equal(chat.getSnapshot().conversation.id, 8);
	assert.deepEqual(
		[states(chat), chat.getSnapshot().messages[0].error],
		[["for you alone failed"], "conversation_closed"],
	);
	assert.deepEqual(script.posts, []);
});

test("a poll never shows one mentor's messages under another one's name", async (t) => {
	const [script, chat] = await blockedChat(t, theirs(1));
	const lists = new Set();
	chat.subscribe(() => {
		const { conversation, messages } = chat.getSnapshot();
		lists.add(`${conversation.id}: ${messages.map(({ id }) => id)}`);
	});
	script.answers["chat/my-conversation/"] = { ...CONVERSATION, id: 8 };
	script.answers[HISTORY] = history(theirs(5));
	await script.pass(2_000);
	await script.pass(30_000);
	script.socket.end(1006);
	await settle();
	assert.deepEqual([...lists], ["7: 1", "8: ", "8: 5"]);
});

test("what was seen is marked as read over REST, up to that message", async (t) => {
	const [script, chat] = await blockedChat(t, theirs(1), theirs(2), theirs(3));
	script.answers["POST chat/conversations/7/mark-read/"] = { detail: "2 messages marked as read." };
	chat.markVisible(2);
	await script.pass(200);
	assert.deepEqual(
		script.posts.map(({ path }) => path),
		["chat/conversations/7/mark-read/?message_id=2"],
	);
	assert.deepEqual(
		chat.getSnapshot().messages.map(({ is_read }) => is_read),
		[true, true, false],
	);
});

test("REST that ends the session or goes away is told at once", async (t) => {
	for (const [answer, expected] of [
		[{ status: 401, body: {} }, ["stopped", "signed_out"]],
		[{ status: 503, body: {} }, ["waiting", "unavailable"]],
		[new TypeError("Failed to fetch"), ["waiting", "unavailable"]],
	]) {
		const [script, chat] = await blockedChat(t, theirs(1));
		script.answers["chat/my-conversation/"] = answer;
		await script.pass(2_000);
		assert.deepEqual(shown(chat), expected);
	}
});

test("an inbox is polled, too", async (t) => {
	const script = new Script(t);
	const inbox = await script.inbox({ user: ME });
	script.socket.end(1006);
	await settle();
	assert.deepEqual([shown(inbox), inbox.getSnapshot().conversations], [["polling", "blocked"], [CONVERSATION]]);
	const newer = { ...CONVERSATION, updated_at: "2026-01-02T00:00:00Z", unread_message_count_for_user: 1 };
	script.answers["chat/my-conversation/"] = newer;
	await script.pass(2_000);
	assert.deepEqual([inbox.getSnapshot().conversations, inbox.getSnapshot().unreadTotal], [[newer], 1]);
});

test("a browser that refuses to make a socket is served by REST", async (t) => {
	t.mock.method(console, "error", () => {});
	for (const WebSocket of [
		undefined,
		class {
			constructor() {
				throw new DOMException("mixed content", "SecurityError");
			}
		},
	]) {
		const script = new Script(t);
		script.answers[HISTORY] = history(message(1));
		const chat = await script.chat({ WebSocket });
		assert.deepEqual([shown(chat), states(chat)], [["polling", "blocked"], ["1 sent"]]);
	}
});
