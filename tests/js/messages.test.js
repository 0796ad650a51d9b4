/** What the client shows and sends, frame by frame. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { ApiError, createApi, createChat, createInbox, listUnsent } from "../../chat/static/chat/client.js";
import { CONVERSATION, ME, message, Script, settle, shown, theirs } from "./script.js";

const contents = (chat) => chat.getSnapshot().messages.map(({ content }) => content);
const states = (chat) => chat.getSnapshot().messages.map(({ content, state }) => `${content} ${state}`);
const sends = (socket) => socket.said.filter((frame) => "message" in frame).map((frame) => frame.message);
const ack = (id, { message: content, client_id }) => ({
	type: "new_message",
	message: message(id, content),
	client_id,
});
const kept = (script) => [...script.tab.origin.items.values()].map((text) => JSON.parse(text).content);
const unavailable = { error: "...", code: "temporarily_unavailable" };

test("history and live messages form one list, whichever comes first", async (t) => {
	const script = new Script(t);
	script.answers["chat/my-conversation/messages/"] = { results: [message(1), theirs(2)], previous: "...", next: null };
	const chat = await script.chat();
	script.socket.accept({ type: "new_message", message: theirs(2) }, { type: "new_message", message: theirs(3) });
	script.socket.say({ type: "update_message_status", message_ids: [1], is_read: true, reader: 12 });
	assert.deepEqual([shown(chat), contents(chat)], [["connecting"], []]);
	await settle();
	assert.deepEqual(states(chat), ["1 read", "2 received", "3 received"]);
	const { isLoaded, hasOlder, user, conversation } = chat.getSnapshot();
	assert.deepEqual(
		{ isLoaded, hasOlder, user, conversation },
		{ isLoaded: true, hasOlder: true, user: ME, conversation: CONVERSATION },
	);
	assert.deepEqual(script.requests.slice(2), ["chat/my-conversation/messages/?mark_read=false&limit=50"]);
});

test("erased messages lose text and name, wherever they are, and no older answer brings them back", async (t) => {
	const script = new Script(t);
	script.answers["chat/my-conversation/messages/"] = {
		results: [message(1), theirs(2), theirs(3)],
		previous: null,
		next: null,
	};
	const chat = await script.chat();
	const erased = { type: "messages_erased", message_ids: [2, 4, 999] };
	script.socket.accept({ type: "new_message", message: theirs(4) }, erased);
	await settle();
	const shownErased = () =>
		chat
			.getSnapshot()
			.messages.map(({ content, is_erased, sender_profile: { username } }) => [content, is_erased, username]);
	const [mine, their] = ["STUDENT", "TEACHER"];
	const expected = [
		["1", false, mine],
		["", true, ""],
		["3", false, their],
		["", true, ""],
	];
	assert.deepEqual(shownErased(), expected);
	const { messages: before, conversation } = chat.getSnapshot();
	const nobody = { user_id: 2, full_name: "", username: "", email: "", role: "TEACHER" };
	assert.deepEqual(conversation, { ...CONVERSATION, teacher_profile: nobody });
	script.socket.say({ type: "messages_erased", message_ids: [3] });
	expected[2] = ["", true, ""];
	assert.deepEqual(shownErased(), expected);
	assert.equal(chat.getSnapshot().messages[0], before[0]);
	script.socket.say({ type: "new_message", message: theirs(3) }, { type: "new_message", message: theirs(5) });
	assert.deepEqual(shownErased(), [...expected, ["5", false, their]]);
	script.socket.say({ type: "update_message_status", message_ids: [2, 3], is_read: true, reader: ME.id });
	assert.deepEqual(
		chat.getSnapshot().messages.map(({ is_read }) => is_read),
		[false, true, true, false, false],
	);
});

test("a snapshot is the same object until something changes, and unchanged messages stay the same objects", async (t) => {
	const script = new Script(t);
	const chat = await script.openChat(message(1), message(2));
	const before = chat.getSnapshot();
	assert.equal(chat.getSnapshot(), before);
	assert.ok(Object.isFrozen(before));
	let calls = 0;
	const unsubscribe = chat.subscribe(() => (calls += 1));
	script.socket.say({ type: "update_message_status", message_ids: [2], is_read: true, reader: 12 });
	const after = chat.getSnapshot();
	assert.ok(calls > 0);
	assert.notEqual(after, before);
	assert.deepEqual(
		before.messages.map(({ state }) => state),
		["sent", "sent"],
	);
	script.socket.say({ type: "new_message", message: theirs(3) }, { type: "something_new" });
	assert.equal(chat.getSnapshot().messages[0], after.messages[0]);
	calls = 0;
	unsubscribe();
	script.socket.say({ type: "new_message", message: theirs(4) });
	assert.equal(calls, 0);
});

test("a read mark includes all earlier messages", async (t) => {
	const script = new Script(t);
	const chat = await script.openChat(message(1), theirs(2), message(3), theirs(4));
	script.socket.say({ type: "update_message_status", message_ids: [3], is_read: true, reader: 12 });
	assert.deepEqual(
		chat.getSnapshot().messages.map(({ is_read }) => is_read),
		[true, false, true, false],
	);
	script.socket.say({ type: "update_message_status", message_ids: [2, 4], is_read: true, reader: 11 });
	assert.ok(chat.getSnapshot().messages.every(({ is_read }) => is_read));
});

test("missed messages are shown together, not one by one", async (t) => {
	const script = new Script(t);
	const chat = await script.openChat(message(1));
	script.socket.end(1006);
	await script.pass(500);
	const lengths = new Set();
	chat.subscribe(() => lengths.add(contents(chat).length));
	script.socket.accept(...[2, 3, 4].map((id) => ({ type: "new_message", message: theirs(id, { is_read: true }) })));
	script.socket.say({ type: "resume_complete", recovered: true, count: 3, read_up_to: 1 });
	assert.deepEqual([...lengths], [4]);
	assert.equal(chat.getSnapshot().messages[0].state, "read");
	assert.equal(script.requests.length, 3, "nothing shown was unread, nothing had to be asked");
});

test("after a reconnect the client asks what was read elsewhere", async (t) => {
	const script = new Script(t);
	const chat = await script.openChat(theirs(2), theirs(3));
	script.socket.end(1006);
	chat.send("a");
	// REST already has the message that is still pending here: it must not be shown twice.
	script.answers["chat/my-conversation/messages/"].results = [1, 2]
		.map((id) => theirs(id, { is_read: true }))
		.concat(theirs(3), message(4, "a"));
	await script.back();
	assert.deepEqual(
		chat.getSnapshot().messages.map(({ id, is_read }) => [id, is_read]),
		[
			[2, true],
			[3, false],
			[null, false],
		],
	);
});

test("when too much was missed, the newest page replaces the list, without a gap", async (t) => {
	const script = new Script(t);
	const chat = await script.openChat(message(1), message(2));
	script.socket.end(1006);
	await script.pass(500);
	script.answers["chat/my-conversation/messages/"] = {
		results: [message(800), message(801)],
		previous: "...",
		next: null,
	};
	script.socket.accept({ type: "resume_complete", recovered: false, count: 0, read_up_to: 801 });
	script.socket.say({ type: "new_message", message: theirs(802) });
	assert.deepEqual(contents(chat), ["1", "2"], "until the page is there");
	await settle();
	assert.deepEqual(states(chat), ["800 read", "801 read", "802 received"]);
	assert.equal(chat.getSnapshot().hasOlder, true);
});

test("an older page is ignored when the list was replaced meanwhile", async (t) => {
	const script = new Script(t);
	script.answers["chat/my-conversation/messages/"] = { results: [message(50)], previous: "...", next: null };
	const chat = await script.chat();
	script.socket.accept();
	await settle();
	let answer;
	script.answers["chat/my-conversation/messages/"] = new Promise((resolve) => (answer = resolve));
	const page = chat.loadOlder();
	assert.equal(script.requests.at(-1), "chat/my-conversation/messages/?mark_read=false&limit=50&before=50");
	script.answers["chat/my-conversation/messages/"] = { results: [message(900)], previous: null, next: null };
	script.socket.end(1006);
	await script.pass(500);
	script.socket.accept({ type: "resume_complete", recovered: false, count: 0, read_up_to: null });
	await settle();
	answer({ results: [message(49)], previous: "...", next: "..." });
	await page;
	assert.deepEqual([contents(chat), chat.getSnapshot().hasOlder], [["900"], false]);
});

test("loadOlder rejects when the page cannot be fetched", async (t) => {
	const script = new Script(t);
	script.answers["chat/my-conversation/messages/"] = { results: [message(50)], previous: "...", next: null };
	const chat = await script.chat();
	script.socket.accept();
	await settle();
	script.answers["chat/my-conversation/messages/"] = {
		status: 503,
		body: { detail: "Later.", code: "temporarily_unavailable" },
	};
	await assert.rejects(chat.loadOlder(), { status: 503, code: "temporarily_unavailable", message: "Later." });
	assert.deepEqual([chat.getSnapshot().isLoadingOlder, ...shown(chat)], [false, "open"]);
});

test("messages are sent one after the other", async (t) => {
	const script = new Script(t);
	const chat = await script.openChat();
	["a", "b", "c"].forEach(chat.send);
	assert.deepEqual(states(chat), ["a sending", "b sending", "c sending"]);
	assert.deepEqual(sends(script.socket), ["a"]);
	script.socket.say(ack(1, script.socket.said[0]));
	assert.deepEqual(states(chat), ["a sent", "b sending", "c sending"]);
	assert.deepEqual(
		[sends(script.socket), kept(script)],
		[
			["a", "b"],
			["b", "c"],
		],
	);
	script.socket.say({ type: "new_message", message: theirs(2) }, ack(3, script.socket.said[1]));
	script.socket.say(ack(4, script.socket.said[2]));
	assert.deepEqual(states(chat), ["a sent", "2 received", "b sent", "c sent"]);
	assert.deepEqual(kept(script), []);
});

test("a rate-limited message is repeated, and nothing overtakes it", async (t) => {
	const script = new Script(t);
	const chat = await script.openChat();
	["a", "b"].forEach(chat.send);
	script.socket.say({ error: "...", code: "rate_limited", retry_after: 0.15 });
	assert.equal(chat.getSnapshot().delay, "rate_limited");
	await script.pass(149);
	assert.deepEqual(sends(script.socket), ["a"]);
	await script.pass(1);
	assert.equal(chat.getSnapshot().delay, null);
	assert.deepEqual(sends(script.socket), ["a", "a"]);
	assert.equal(script.socket.said[0].client_id, script.socket.said[1].client_id);
	assert.deepEqual(states(chat), ["a sending", "b sending"]);
});

test("a send is repeated while the server is temporarily unavailable", async (t) => {
	const script = new Script(t);
	const chat = await script.openChat();
	chat.send("a");
	for (let n = 1; n < 5; n += 1) {
		script.socket.say(unavailable);
		await script.pass(1000);
		assert.equal(sends(script.socket).length, n + 1);
	}
	script.socket.say(unavailable);
	script.socket.say(ack(1, script.socket.said[0])); // it was committed
	assert.deepEqual(states(chat), ["a sent"]);
	await script.pass(9_000);
	assert.deepEqual([sends(script.socket).length, ...shown(chat)], [5, "open"]);
});

test("a temporary error may be about a mark: the pending send is repeated and does not fail", async (t) => {
	const script = new Script(t);
	const chat = await script.openChat(theirs(1));
	chat.markVisible(1);
	await script.pass(200);
	chat.send("a");
	script.socket.say(unavailable); // about the mark
	script.socket.say({ error: "...", code: "message_not_found" });
	await script.pass(1000);
	assert.deepEqual(
		script.socket.said.map(({ type = "send" }) => type),
		["mark_read", "send", "send", "mark_read"],
	);
	script.socket.say(ack(2, script.socket.said[1]));
	assert.deepEqual(states(chat), ["1 received", "a sent"]);
});

test("a refusal is about the pending message", async (t) => {
	const script = new Script(t);
	const chat = await script.openChat();
	["a", "b", "c"].forEach(chat.send);
	script.socket.say({ error: "...", code: "message_too_long" });
	script.socket.say(ack(1, script.socket.said[1]));
	script.socket.say({ error: "...", code: "conversation_closed" });
	assert.deepEqual(states(chat), ["b sent", "a failed", "c failed"]);
	assert.deepEqual(
		chat
			.getSnapshot()
			.messages.slice(1)
			.map(({ error }) => error),
		["message_too_long", "conversation_closed"],
	);
	const [, { clientId: first }, { clientId: second }] = chat.getSnapshot().messages;
	chat.retry(first);
	assert.deepEqual(states(chat), ["b sent", "c failed", "a sending"]);
	assert.deepEqual(sends(script.socket), ["a", "b", "c", "a"]);
	chat.discard(first); // still pending: ignored
	chat.discard(second);
	chat.retry("unknown");
	assert.deepEqual([states(chat), kept(script)], [["b sent", "a sending"], ["a"]]);
});

test("a send without an answer ends the connection, and is repeated on the next", async (t) => {
	const script = new Script(t);
	const chat = await script.openChat(message(1));
	chat.send("a");
	await script.pass(9_000);
	script.socket.say({ type: "pong" });
	await script.pass(1_000);
	assert.deepEqual(shown(chat), ["waiting", "unavailable"]);
	const [{ client_id }] = script.socket.said;
	await script.back();
	assert.deepEqual(script.socket.said, [{ message: "a", client_id }]);
	assert.equal(script.socket.query.get("after"), "1");
});

test("a replay that contains the pending message acknowledges it", async (t) => {
	const script = new Script(t);
	const chat = await script.openChat(message(1));
	chat.send("a");
	const [sent] = script.socket.said;
	script.socket.end(1006);
	await script.back(ack(2, sent));
	assert.deepEqual([states(chat), sends(script.socket)], [["1 sent", "a sent"], []]);
});

test("a message that came first with the history keeps its key when its repeat is acknowledged", async (t) => {
	const script = new Script(t);
	const chat = await script.chat();
	chat.send("a");
	script.answers["chat/my-conversation/messages/"].results = [message(1, "a")];
	script.socket.accept();
	await settle();
	script.socket.say(ack(1, script.socket.said[0]));
	assert.deepEqual(
		chat.getSnapshot().messages.map(({ id, key, clientId }) => [id, key, clientId]),
		[[1, "1", script.socket.said[0].client_id]],
	);
});

test("a repeat that is acknowledged with an old message leaves no gap in the list", async (t) => {
	const script = new Script(t);
	script.answers["chat/my-conversation/messages/"] = {
		results: [message(50), message(51)],
		previous: "...",
		next: null,
	};
	const chat = await script.chat();
	script.socket.accept();
	await settle();
	chat.send("old");
	script.socket.say(ack(3, script.socket.said[0]));
	assert.deepEqual([contents(chat), kept(script)], [["50", "51"], []]);
});

test("the outbox is sent after a reload, in order", async (t) => {
	const script = new Script(t);
	const before = await script.chat();
	["a", "b", "c"].forEach(before.send);
	before.close();
	script.tab.origin.items.set("qader-chat:11:7:junk", "{");
	script.tab.origin.items.set("qader-chat:11:7:more", '{"content":"junk","at":"yesterday"}');
	script.tab.origin.items.set("qader-chat:11:8:other", '{"clientId":"other","content":"elsewhere","at":1}');
	script.tab.origin.items.set("qader-chat:12:7:other", '{"clientId":"other","content":"somebody else","at":1}');
	const chat = await script.openChat(message(1));
	assert.deepEqual(states(chat), ["1 sent", "elsewhere failed", "a sending", "b sending", "c sending"]);
	for (const id of [2, 3, 4]) script.socket.say(ack(id, script.socket.said.at(-1)));
	assert.deepEqual(sends(script.socket), ["a", "b", "c"]);
	assert.deepEqual(
		[...script.tab.origin.items.keys()].map((key) => key.split(":").at(-1)),
		["junk", "more", "other"], // not somebody else's
	);
	assert.ok(script.tab.origin.items.has("qader-chat:11:7:other"), "a text for a former mentor came along, and failed");
});

test("after a reload the chat resumes after the last message before the outbox, and shows nothing twice", async (t) => {
	const script = new Script(t);
	const before = await script.openChat(message(1));
	before.send("a");
	const [sent] = script.socket.said;
	before.close();
	const chat = await script.chat();
	const lists = [];
	chat.subscribe(() => lists.push(contents(chat).join()));
	assert.equal(script.socket.query.get("after"), "1");
	script.answers["chat/my-conversation/messages/"].results = [message(1), message(2, "a")];
	script.socket.accept(ack(2, sent), { type: "resume_complete", recovered: true, count: 1, read_up_to: null });
	await settle();
	assert.deepEqual([states(chat), sends(script.socket), kept(script)], [["1 sent", "a sent"], [], []]);
	assert.deepEqual([...new Set(lists)], ["1,a"]);
});

test("a conversation that was empty resumes from its beginning", async (t) => {
	const script = new Script(t);
	const chat = await script.openChat();
	assert.equal(script.socket.query.get("after"), null, "its history was fetched");
	const asked = script.requests.length;
	script.socket.end(1006);
	await script.pass(500);
	assert.equal(script.socket.query.get("after"), "0");
	const [one, two] = [theirs(1), theirs(2)].map((message) => ({ type: "new_message", message }));
	script.socket.accept(one, two, { type: "resume_complete", recovered: true, count: 2, read_up_to: null });
	await settle();
	assert.deepEqual([contents(chat), chat.getSnapshot().status], [["1", "2"], "open"]);
	script.socket.say({ type: "new_message", message: theirs(3) });
	assert.deepEqual(contents(chat), ["1", "2", "3"]);
	assert.equal(script.requests.length, asked + 1, "only what was read elsewhere had to be asked");
});

test("another tab's message is shown, and sent only if that tab cannot send it", async (t) => {
	const script = new Script(t);
	const chat = await script.openChat(message(1));
	const { storage } = script.tab.origin.tab();
	const elsewhere = (clientId, at) =>
		storage.setItem(`qader-chat:11:7:${clientId}`, JSON.stringify({ clientId, content: clientId, at }));
	elsewhere("x", 1);
	elsewhere("y", 2);
	chat.send("own");
	assert.deepEqual(states(chat), ["1 sent", "x sending", "y sending", "own sending"]);
	assert.deepEqual(sends(script.socket), ["own"]);
	script.socket.say(ack(2, script.socket.said[0]));
	await script.pass(5_000);
	script.socket.say(ack(3, { message: "x", client_id: "x" }));
	storage.removeItem("qader-chat:11:7:x");
	await script.pass(4_999);
	assert.deepEqual(sends(script.socket), ["own"]);
	await script.pass(1_001);
	assert.deepEqual(sends(script.socket), ["own", "y"]);
});

test("another tab's message that the server confirmed before the browser told of it is not shown again", async (t) => {
	const script = new Script(t);
	const chat = await script.openChat(message(1));
	const { storage } = script.tab.origin.tab();
	script.socket.say(ack(2, { message: "x", client_id: "x" }));
	storage.setItem("qader-chat:11:7:x", JSON.stringify({ clientId: "x", content: "x", at: 1 }));
	assert.deepEqual(states(chat), ["1 sent", "x sent"]);
	await script.pass(11_000);
	assert.deepEqual(sends(script.socket), []);
});

test("failures and discards are shown in other tabs, and other storage items are ignored", async (t) => {
	const script = new Script(t);
	const chat = await script.openChat();
	const { storage } = script.tab.origin.tab();
	const entry = { clientId: "x", content: "x", at: 1 };
	const key = "qader-chat:11:7:x";
	storage.setItem(key, JSON.stringify(entry));
	storage.setItem(key, JSON.stringify({ ...entry, error: "message_too_long" }));
	assert.deepEqual(states(chat), ["x failed"]);
	storage.removeItem(key);
	assert.deepEqual(states(chat), []);
	const before = chat.getSnapshot();
	storage.setItem("qader-chat:11:8:x", JSON.stringify(entry));
	storage.setItem("theme", "dark");
	assert.equal(chat.getSnapshot(), before);
});

test("a frame that was too big fails only its own message", async (t) => {
	const script = new Script(t);
	const chat = await script.openChat(message(1));
	["big", "small"].forEach(chat.send);
	script.socket.end(1009);
	assert.deepEqual([states(chat)[1], chat.getSnapshot().messages[1].error], ["big failed", "message_too_long"]);
	await script.back();
	assert.deepEqual(sends(script.socket), ["small"]);
});

test("another conversation begins empty, and messages for the former one are not sent to it", async (t) => {
	const script = new Script(t);
	const chat = await script.openChat(message(1));
	chat.send("a");
	script.answers["chat/my-conversation/"] = { ...CONVERSATION, id: 8 };
	script.answers["chat/my-conversation/messages/"] = { results: [], previous: null, next: null };
	script.socket.end(4403);
	await script.pass(500);
	assert.deepEqual([chat.getSnapshot().isLoaded, states(chat)], [false, ["a failed"]]);
	script.socket.readyState = 1;
	script.socket.say({ type: "connection_established", conversation_id: "8", room_group_name: "chat_8" });
	if (script.socket.query.has("after"))
		script.socket.say({ type: "resume_complete", recovered: false, count: 0, read_up_to: null });
	await settle();
	assert.deepEqual([shown(chat), states(chat), sends(script.socket)], [["open"], ["a failed"], []]);
	assert.equal(chat.getSnapshot().messages[0].error, "conversation_closed");
	assert.deepEqual(
		[...script.tab.origin.items.keys()].map((key) => key.split(":")[2]),
		["8"],
	);
});

test("a conversation that changed before the socket was open is asked for again", async (t) => {
	const script = new Script(t);
	const chat = await script.chat();
	script.socket.readyState = 1;
	script.socket.say({ type: "connection_established", conversation_id: "8", room_group_name: "chat_8" });
	assert.deepEqual([shown(chat), script.socket.readyState], [["waiting", "unavailable"], 3]);
	script.answers["chat/my-conversation/"] = { ...CONVERSATION, id: 8 };
	await script.pass(500);
	assert.equal(chat.getSnapshot().conversation.id, 8);
});

test("the chat works with a full, forbidden or missing storage", async (t) => {
	const fail = () => {
		throw new DOMException("full", "QuotaExceededError");
	};
	const storages = [null, { length: 1, key: fail, getItem: fail, setItem: fail, removeItem: fail }];
	const script = new Script(t);
	for (const storage of storages) {
		const chat = await script.chat({ storage });
		chat.send("a");
		script.socket.accept();
		await settle();
		script.socket.say(ack(1, script.socket.said[0]));
		assert.deepEqual(states(chat), ["a sent"]);
	}
});

test("client ids are unique without a secure context, too", async (t) => {
	const script = new Script(t);
	const { randomUUID } = crypto;
	t.after(() => Object.defineProperty(crypto, "randomUUID", { value: randomUUID, configurable: true }));
	Object.defineProperty(crypto, "randomUUID", { value: undefined, configurable: true });
	t.mock.restoreAll(); // the real Math.random
	const chat = await script.chat();
	const ids = new Set(Array.from({ length: 1000 }, () => chat.send("x")));
	assert.equal(ids.size, 1000);
	assert.ok([...ids].every((id) => id.length <= 64));
});

test("read marks are combined, only go up, and wait until the page is visible", async (t) => {
	const script = new Script(t);
	const chat = await script.openChat(theirs(1), message(2), theirs(3), theirs(4));
	const marks = () => script.socket.said.filter(({ type }) => type === "mark_read").map(({ message_id }) => message_id);
	chat.markVisible(null);
	[2, 1].forEach(chat.markVisible);
	await script.pass(199);
	assert.deepEqual(marks(), []);
	await script.pass(1);
	assert.deepEqual(marks(), [1]);
	script.socket.say({ type: "update_message_status", message_ids: [1], is_read: true, reader: 11 });
	chat.markVisible(1);
	await script.pass(200);
	assert.deepEqual(marks(), [1]);
	script.tab.hide();
	chat.markVisible(3);
	await script.pass(200);
	assert.deepEqual(marks(), [1]);
	script.tab.show();
	assert.deepEqual(marks(), [1, 3]);
	[4, 2].forEach(chat.markVisible);
	script.socket.end(1006); // the mark is lost
	await script.back();
	assert.deepEqual(marks(), [4]);
});

test("what was seen is marked at once when its reader leaves, and nothing else is", async (t) => {
	const ways = {
		"the page closes": ({ tab }) => tab.window.dispatchEvent(new Event("pagehide")),
		"another page is shown": ({ tab }) => tab.hide(),
		"the chat is closed": (_, chat) => chat.close(),
	};
	for (const [way, leave] of Object.entries(ways)) {
		const script = new Script(t);
		const chat = await script.openChat(theirs(1), theirs(2));
		const { socket } = script;
		const marks = () => socket.said.filter(({ type }) => type === "mark_read").map(({ message_id }) => message_id);
		chat.markVisible(1);
		leave(script, chat);
		assert.deepEqual(marks(), [1], way);
		await script.pass(200);
		assert.deepEqual(marks(), [1], way);
	}
	const script = new Script(t);
	const chat = await script.openChat(theirs(1));
	script.tab.hide();
	chat.markVisible(1);
	script.tab.window.dispatchEvent(new Event("pagehide"));
	chat.close();
	assert.deepEqual(script.socket.said, [], "on a page that is hidden");
});

test("the first messages reach back to the first unread one", async (t) => {
	const all = Array.from({ length: 1000 }, (_, index) => theirs(index + 1, { is_read: index < 700 }));
	const historyOf = (script, messages) =>
		Object.defineProperty(script.answers, "chat/my-conversation/messages/", {
			get: () => {
				const { searchParams } = new URL(script.requests.at(-1), "http://chat.test");
				const before = messages.filter(({ id }) => id < Number(searchParams.get("before") ?? Infinity));
				const results = before.slice(-Number(searchParams.get("limit")));
				return { results, previous: results[0]?.id > 1 ? "..." : null, next: null };
			},
		});
	const openedWith = async (messages) => {
		const script = new Script(t);
		historyOf(script, messages);
		const chat = await script.chat();
		script.socket.accept();
		await settle();
		const { messages: shown, hasOlder } = chat.getSnapshot();
		return { first: shown[0].id, count: shown.length, hasOlder, asked: script.requests.slice(2) };
	};
	const page = (rest) => `chat/my-conversation/messages/?mark_read=false&limit=${rest}`;
	assert.deepEqual(await openedWith(all), {
		first: 551,
		count: 450,
		hasOlder: true,
		asked: [page(50), page("200&before=951"), page("200&before=751")],
	});
	const unread = all.map((one) => ({ ...one, is_read: false }));
	assert.deepEqual(await openedWith(unread), {
		first: 351,
		count: 650,
		hasOlder: true,
		asked: [page(50), page("200&before=951"), page("200&before=751"), page("200&before=551")],
	});
	const read = all.map((one) => ({ ...one, is_read: true }));
	assert.deepEqual(await openedWith(read), { first: 951, count: 50, hasOlder: true, asked: [page(50)] });
	assert.deepEqual((await openedWith(unread.slice(0, 60))).asked, [page(50), page("200&before=11")]);
});

test("the newest page is shown although the unread ones before it cannot be fetched", async (t) => {
	const script = new Script(t);
	Object.defineProperty(script.answers, "chat/my-conversation/messages/", {
		get: () =>
			script.requests.at(-1).includes("before")
				? new Error("gone")
				: { results: [theirs(9)], previous: "...", next: null },
	});
	const chat = await script.chat();
	script.socket.accept();
	await settle();
	assert.deepEqual([...shown(chat), ...states(chat), chat.getSnapshot().hasOlder], ["open", "9 received", true]);
});

test("typing is sent sparingly, and a received one expires", async (t) => {
	const script = new Script(t);
	const chat = await script.openChat();
	const told = () => script.socket.said.filter(({ type }) => type === "typing").map(({ is_typing }) => is_typing);
	chat.setTyping(false);
	for (let n = 0; n < 30; n += 1) {
		chat.setTyping(true);
		await script.pass(200);
	}
	assert.deepEqual(told(), [true, true]);
	chat.setTyping(false);
	chat.setTyping(false);
	assert.deepEqual(told(), [true, true, false]);
	chat.setTyping(true);
	chat.send("a");
	chat.setTyping(false); // the sent message has ended the typing already
	chat.setTyping(true);
	assert.deepEqual(told(), [true, true, false, true, true]);
	script.socket.say(
		ack(
			1,
			script.socket.said.find(({ message }) => message),
		),
	);

	script.socket.say({ type: "typing", user: 12, is_typing: true });
	assert.equal(chat.getSnapshot().typing, true);
	await script.pass(4_000);
	script.socket.say({ type: "typing", user: 12, is_typing: true });
	await script.pass(5_999);
	assert.equal(chat.getSnapshot().typing, true);
	await script.pass(1);
	assert.equal(chat.getSnapshot().typing, false);
	script.socket.say({ type: "typing", user: 12, is_typing: true }, { type: "new_message", message: message(8) });
	assert.equal(chat.getSnapshot().typing, true, "one's own message does not end the other side's typing");
	script.socket.say({ type: "new_message", message: theirs(9) });
	assert.equal(chat.getSnapshot().typing, false);
});

test("presence is the last one received, and unknown while disconnected", async (t) => {
	const script = new Script(t);
	const chat = await script.openChat(message(1));
	const presence = { type: "presence", user: 12, is_online: true, last_seen: null };
	script.socket.say(presence, { type: "typing", user: 12, is_typing: true });
	assert.deepEqual(chat.getSnapshot().presence, presence);
	script.socket.end(1006);
	assert.deepEqual([chat.getSnapshot().presence, chat.getSnapshot().typing], [null, false]);
});

test("an inbox is sorted, counted, and fetched again after each connection", async (t) => {
	const script = new Script(t);
	const conversation = (id, minute, unread) => ({
		...CONVERSATION,
		id,
		last_message: message(id),
		updated_at: `2026-01-01T00:0${minute}:00.000001Z`,
		unread_message_count_for_user: unread,
	});
	const pages = [[conversation(1, 1, 2), conversation(2, 3, 0)], [conversation(3, 2, 1)]];
	script.answers["auth/me/"] = { ...ME, profile: CONVERSATION.teacher_profile };
	Object.defineProperty(script.answers, "chat/teacher/conversations/", {
		get: () => ({
			results: pages[script.requests.at(-1).includes("page=2") ? 1 : 0],
			next: script.requests.at(-1).includes("page=2") ? null : "...",
		}),
	});
	const inbox = await script.inbox();
	const order = () => inbox.getSnapshot().conversations.map(({ id }) => id);
	const begin = async (...frames) => {
		script.socket.readyState = 1;
		script.socket.say({ type: "inbox_established", unread_total: 3 }, ...frames);
		await settle();
	};
	await begin({ type: "conversation_update", conversation: conversation(4, 4, 5) });
	assert.deepEqual([order(), inbox.getSnapshot().unreadTotal, inbox.getSnapshot().isLoaded], [[4, 2, 3, 1], 8, true]);
	assert.deepEqual(
		script.requests.slice(1),
		[1, 2].map((page) => `chat/teacher/conversations/?page_size=200&page=${page}`),
	);
	script.socket.say({ type: "conversation_update", conversation: conversation(1, 5, 0) });
	assert.deepEqual([order(), inbox.getSnapshot().unreadTotal], [[1, 4, 2, 3], 6]);
	script.socket.end(1012);
	assert.deepEqual(order(), [1, 4, 2, 3]);
	await script.pass(500);
	await begin();
	assert.deepEqual([order(), inbox.getSnapshot().unreadTotal, ...shown(inbox)], [[2, 3, 1], 3, "open"]);
});

test("a mentor says in the inbox that no reply is needed", async (t) => {
	const script = new Script(t);
	const at = (second, waiting_since, rest) => {
		return { ...CONVERSATION, updated_at: `2026-01-01T00:00:0${second}.000001Z`, waiting_since, ...rest };
	};
	const [waiting, answer, newer] = [at(1, "2026-01-01T00:00:01.000001Z"), at(1, null), at(2, "2026-01-01T00:00:02Z")];
	script.answers["auth/me/"] = { ...ME, profile: CONVERSATION.teacher_profile };
	script.answers["chat/teacher/conversations/"] = { results: [waiting], previous: null, next: null };
	script.answers["auth/csrf/"] = { csrfToken: "token" };
	script.answers["chat/conversations/7/done/"] = answer;
	const inbox = await script.inbox();
	await inbox.done(7);
	assert.equal(inbox.getSnapshot().isLoaded, false); // the list is not there yet
	script.socket.readyState = 1;
	script.socket.say({ type: "inbox_established", unread_total: 0 });
	await settle();
	assert.deepEqual(inbox.getSnapshot().conversations, [waiting]);
	await inbox.done(7);
	assert.deepEqual(inbox.getSnapshot().conversations, [answer]);
	assert.deepEqual(script.posts, Array(2).fill({ path: "chat/conversations/7/done/", body: {} }));
	script.socket.say({ type: "conversation_update", conversation: newer });
	await inbox.done(7); // the answer is older than what the socket has said
	assert.deepEqual(inbox.getSnapshot().conversations, [newer]);
	script.answers["chat/conversations/7/done/"] = { status: 403, body: { detail: "...", code: "not_a_participant" } };
	await assert.rejects(inbox.done(7), new ApiError(403, { detail: "...", code: "not_a_participant" }));
	assert.deepEqual(inbox.getSnapshot().conversations, [newer]);
});

test("conversations without a message come last, although they may just have been made", async (t) => {
	const script = new Script(t);
	const inbox = await script.inbox({ user: { ...ME, profile: CONVERSATION.teacher_profile } });
	const conversation = (id, minute, last_message = null) => ({
		...CONVERSATION,
		id,
		last_message,
		updated_at: `2026-01-01T00:0${minute}:00Z`,
	});
	const results = [
		conversation(1, 9),
		conversation(2, 8),
		conversation(3, 2, message(3)),
		conversation(4, 3, message(4)),
	];
	script.answers["chat/teacher/conversations/"] = { results, next: null };
	script.socket.say({ type: "inbox_established", unread_total: 0 });
	await settle();
	const order = () => inbox.getSnapshot().conversations.map(({ id }) => id);
	assert.deepEqual(order(), [4, 3, 1, 2]);
	script.socket.say({ type: "conversation_update", conversation: conversation(2, 9, message(5)) });
	assert.deepEqual(order(), [2, 4, 3, 1]);
});

test("a student's inbox has their one conversation, or stops without a mentor", async (t) => {
	const script = new Script(t);
	const inbox = await script.inbox();
	const established = { type: "inbox_established", unread_total: 0 };
	script.socket.say(established);
	await settle();
	assert.deepEqual(inbox.getSnapshot().conversations, [CONVERSATION]);
	script.answers["chat/my-conversation/"] = { status: 404, body: { detail: "...", code: "no_mentor" } };
	script.socket.end(1006);
	await script.pass(500);
	script.socket.say(established);
	await settle();
	assert.deepEqual(shown(inbox), ["stopped", "no_mentor"]);
});

const TEXTS = {
	"qader-chat:11:7:b": JSON.stringify({ clientId: "b", content: "second", at: 2, error: "invalid_characters" }),
	"qader-chat:11:8:a": JSON.stringify({ clientId: "a", content: "first", at: 1 }),
	"qader-chat:11:8:broken": "{",
	"qader-draft:11:7": "a draft",
	"qader-chat:111:7:c": JSON.stringify({ clientId: "c", content: "theirs", at: 1 }),
	"qader-draft:12:7": "their draft",
	theme: "dark",
};

/** A browser with these texts, and what is left in it after a call. */
async function left(script, call) {
	for (const [key, text] of Object.entries(TEXTS)) script.tab.storage.setItem(key, text);
	await call(createApi(script.options)).catch(() => {});
	return [...script.tab.origin.items.keys()];
}

const MINE = ["qader-chat:11:7:b", "qader-chat:11:8:a", "qader-chat:11:8:broken", "qader-draft:11:7", "theme"];

test("the unsent messages of a user are listed, oldest first, and nobody else's", (t) => {
	const script = new Script(t);
	for (const [key, text] of Object.entries(TEXTS)) script.tab.storage.setItem(key, text);
	assert.deepEqual(listUnsent(ME, script.options), [
		{ conversationId: 8, clientId: "a", content: "first", at: 1 },
		{ conversationId: 7, clientId: "b", content: "second", at: 2 },
	]);
	assert.deepEqual(listUnsent(ME, { storage: null }), []);
});

test("a connection removes the texts of others, however its user signed in", async (t) => {
	const script = new Script(t);
	const isTheirs = (key) => /^qader-\w+:(111|12):/.test(key);
	for (const open of [createChat, createInbox]) {
		const keys = await left(script, async () => {
			const store = open({ ...script.options, user: ME, conversation: CONVERSATION });
			store.open();
			await script.pass(0);
			script.socket.accept({ type: "inbox_established", unread_total: 0 });
			await settle();
			store.close();
		});
		assert.deepEqual(keys.filter(isTheirs), []);
		assert.equal(keys.includes("qader-draft:11:7"), true);
	}
});

test("a sign-out removes all texts, and a sign-in those of others", async (t) => {
	const script = new Script(t);
	script.answers["auth/csrf/"] = { csrfToken: "t" };
	script.answers["auth/login/"] = ME;
	script.answers["auth/logout/"] = { ok: true };
	assert.deepEqual(await left(script, (api) => api.login("me", "...")), MINE);
	assert.deepEqual(await left(script, (api) => api.logout()), ["theme"]);
	script.answers["auth/logout/"] = { status: 401, body: {} };
	assert.deepEqual(await left(script, (api) => api.logout()), ["theme"]);
	script.answers["auth/logout/"] = new TypeError("Failed to fetch"); // its answer was lost
	script.answers["auth/me/"] = { status: 401, body: {} };
	assert.deepEqual(await left(script, (api) => api.logout()), ["theme"]);
	script.answers["auth/me/"] = ME;
	for (const answer of [{ status: 503, body: {} }, new TypeError("Failed to fetch")]) {
		script.answers["auth/logout/"] = script.answers["auth/login/"] = answer;
		assert.equal((await left(script, (api) => api.logout())).length, Object.keys(TEXTS).length);
		assert.equal((await left(script, (api) => api.login("me", "wrong"))).length, Object.keys(TEXTS).length);
	}
});

test("an ApiError has the status, the code and the seconds to wait", async () => {
	const answer = (...parts) => createApi({ fetch: async () => new Response(...parts) }).me();
	const gone = createApi({ fetch: () => Promise.reject(new TypeError("Failed to fetch")) });
	await assert.rejects(
		gone.me(),
		(error) => error instanceof ApiError && error.status === 0 && error.message === "HTTP 0",
	);
	await assert.rejects(answer("<html>", { status: 200 }), {
		name: "ApiError",
		status: 0,
		code: null,
		retryAfter: null,
	});
	await assert.rejects(answer("<html>", { status: 502 }), {
		name: "ApiError",
		status: 502,
		code: null,
		retryAfter: null,
	});
	await assert.rejects(
		answer('{"detail": "Slowly.", "code": "rate_limited"}', { status: 429, headers: { "Retry-After": "120" } }),
		{ name: "ApiError", status: 429, code: "rate_limited", retryAfter: 120, message: "Slowly." },
	);
});

test("a report is posted with its reason, and a refusal is the caller's to show", async (t) => {
	const script = new Script(t);
	const chat = await script.openChat(theirs(1));
	const answer = { id: 4, message: 1, state: "open", created_at: "2026-01-01T00:00:00Z" };
	script.answers["auth/csrf/"] = { csrfToken: "token" };
	script.answers["POST chat/messages/1/report/"] = { status: 201, body: answer };
	assert.deepEqual(await chat.report(1, "not right"), answer);
	await chat.report(1);
	assert.deepEqual(script.posts, [
		{ path: "chat/messages/1/report/", body: { reason: "not right" } },
		{ path: "chat/messages/1/report/", body: { reason: null } },
	]);
	script.answers["POST chat/messages/1/report/"] = { status: 429, body: { code: "rate_limited" } };
	await assert.rejects(chat.report(1), { status: 429, code: "rate_limited" });
	assert.deepEqual(states(chat), ["1 received"]);
});
