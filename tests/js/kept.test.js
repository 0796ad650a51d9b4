/** Texts that the server does not have yet: kept from the first moment, sent for all conversations, shown once. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { createApi, draftKey, keepDraft, listUnsent, readDraft } from "../../chat/static/chat/client.js";
import { CONVERSATION, ME, message, Script, settle, shown, theirs } from "./script.js";

const HISTORY = "chat/my-conversation/messages/";
const MENTOR = { ...ME, id: 12, profile: CONVERSATION.teacher_profile };
const states = (chat) => chat.getSnapshot().messages.map(({ content, state }) => `${content} ${state}`);
const sends = ({ said }) => said.filter((frame) => "message" in frame).map((frame) => frame.message);
const history = (...results) => ({ results, previous: null, next: null });
const entry = (clientId, content, at, rest = {}) => JSON.stringify({ clientId, content, at, ...rest });
const never = new Promise(() => {});

for (const [what, options, unanswered] of [
	["before anything is known", {}, "auth/me/"],
	["before the conversation is known", { user: ME }, "chat/my-conversation/"],
	["of a mentor before anything is known", { conversationId: 7 }, "auth/me/"],
	["of a mentor before the socket is open", { user: MENTOR, conversationId: 7, conversation: CONVERSATION }, "none"],
])
	test(`a text ${what} survives a reload`, async (t) => {
		const script = new Script(t);
		if (options.conversationId) script.answers["auth/me/"] = MENTOR;
		const answer = script.answers[unanswered];
		script.answers[unanswered] = never;
		const before = await script.chat(options);
		before.send("a");
		before.send("b");
		assert.deepEqual(states(before), ["a sending", "b sending"]);
		before.close();
		script.answers[unanswered] = answer;
		const chat = await script.chat(options);
		assert.deepEqual(states(chat), ["a sending", "b sending"]);
		script.socket.accept();
		await settle();
		const user = options.conversationId ? MENTOR : ME;
		assert.deepEqual([shown(chat), sends(script.socket)], [["open"], ["a"]]);
		assert.deepEqual(
			listUnsent(user, script.options).map(({ conversationId, content }) => [conversationId, content]),
			[
				[7, "a"],
				[7, "b"],
			],
		);
	});

test("a text from before open() is kept, too, and shown while there is no connection", async (t) => {
	const script = new Script(t);
	script.answers["chat/my-conversation/"] = new TypeError("Failed to fetch");
	const before = await script.chat({ user: ME });
	before.send("a");
	const after = await script.chat({ user: ME });
	assert.deepEqual([shown(after), states(after)], [["waiting", "unavailable"], ["a sending"]]);
});

test("a text of somebody unknown is gone when another one signs in or out", async (t) => {
	for (const call of [(api) => api.login("other", "..."), (api) => api.logout()]) {
		const script = new Script(t);
		Object.assign(script.answers, { "auth/csrf/": { csrfToken: "t" }, "auth/logout/": { ok: true } });
		script.answers["auth/login/"] = { ...ME, id: 99 };
		script.answers["auth/me/"] = never;
		const chat = await script.chat();
		chat.send("a secret");
		chat.close();
		await call(createApi(script.options));
		assert.deepEqual([...script.tab.origin.items.keys()], []);
	}
});

test("a text for a mentor who is not it any more fails, and is not sent to the next one", async (t) => {
	const script = new Script(t);
	script.answers["chat/my-conversation/"] = never;
	const before = await script.chat({ user: ME });
	before.send("for you alone");
	before.close();
	const teacher_profile = { ...CONVERSATION.teacher_profile, user_id: 3 };
	script.answers["chat/my-conversation/"] = { ...CONVERSATION, id: 8, teacher_profile };
	const chat = await script.chat({ user: ME });
	script.socket.readyState = 1;
	script.socket.say({ type: "connection_established", conversation_id: "8", room_group_name: "chat_8" });
	await settle();
	assert.deepEqual([shown(chat), states(chat), sends(script.socket)], [["open"], ["for you alone failed"], []]);
	assert.equal(chat.getSnapshot().messages[0].error, "conversation_closed");
});

test("a chat that is opened again knows what another tab wrote, sent or failed to send meanwhile", async (t) => {
	const script = new Script(t);
	script.answers["auth/me/"] = MENTOR;
	const chat = await script.chat({ user: MENTOR, conversationId: 7, conversation: CONVERSATION });
	for (const text of ["sent there", "failed there", "here"]) {
		chat.send(text);
		await script.pass(1);
	}
	chat.close();
	const { storage } = script.tab.origin.tab();
	const [first, second] = listUnsent(MENTOR, script.options);
	storage.removeItem(`qader-chat:12:7:${first.clientId}`);
	storage.setItem(`qader-chat:12:7:${second.clientId}`, JSON.stringify({ ...second, error: "message_too_long" }));
	storage.setItem("qader-chat:12:7:x", entry("x", "written there", Date.now() + 1));
	chat.open();
	assert.deepEqual(states(chat), ["failed there failed", "here sending", "written there sending"]);
	await script.pass(0);
	script.socket.accept();
	await settle();
	assert.deepEqual(sends(script.socket), ["here"]);
	const [{ client_id }] = script.socket.said;
	script.socket.say({ type: "new_message", message: message(1, "here"), client_id });
	assert.deepEqual(sends(script.socket), ["here", "written there"]);
});

test("a chat that is opened again keeps what could not be stored", async (t) => {
	const script = new Script(t);
	const chat = await script.chat({ storage: null });
	chat.send("a");
	chat.close();
	chat.open();
	assert.deepEqual(states(chat), ["a sending"]);
});

test("a storage that is full or forbidden is said, and so is its end", async (t) => {
	const script = new Script(t);
	const { storage } = script.tab;
	let isFull = true;
	const full = Object.create(storage, {
		setItem: {
			value(key, text) {
				if (isFull) throw new DOMException("full", "QuotaExceededError");
				storage.setItem(key, text);
			},
		},
	});
	const chat = await script.chat({ storage: full });
	script.socket.accept();
	await settle();
	assert.equal(chat.getSnapshot().isKept, true);
	const clientId = chat.send("a");
	assert.equal(chat.getSnapshot().isKept, false);
	script.socket.say({ error: "...", code: "message_too_long" });
	assert.equal(chat.getSnapshot().isKept, false);
	isFull = false;
	chat.retry(clientId);
	assert.equal(chat.getSnapshot().isKept, true);
	for (const none of [null, full]) {
		isFull = true;
		const other = await script.chat({ storage: none });
		other.send("b");
		assert.equal(other.getSnapshot().isKept, false);
		other.close();
	}
	assert.equal(keepDraft("qader-draft:11:7", "x", { storage: full }), false);
});

// --- shown once

test("a stored message whose acknowledgement was lost is shown once, when the history comes before its repeat", async (t) => {
	const script = new Script(t);
	const chat = await script.openChat(message(1));
	const lists = [];
	chat.subscribe(() =>
		lists.push(
			chat
				.getSnapshot()
				.messages.map(({ content }) => content)
				.join(),
		),
	);
	["a", "b"].forEach(chat.send);
	const [{ client_id }] = script.socket.said;
	script.socket.end(1006);
	await script.pass(500);
	script.answers[HISTORY] = history(...Array.from({ length: 9 }, (_, n) => theirs(n + 600)), message(700, "a"));
	script.socket.accept({ type: "resume_complete", recovered: false, count: 0, read_up_to: null });
	await settle();
	assert.deepEqual(states(chat).slice(-2), ["a sent", "b sending"]);
	assert.deepEqual(sends(script.socket), ["a"], "it is repeated, as nobody knows yet whose text that was");
	script.socket.say({ type: "new_message", message: message(700, "a"), client_id });
	assert.deepEqual(
		[states(chat).slice(-2), sends(script.socket)],
		[
			["a sent", "b sending"],
			["a", "b"],
		],
	);
	assert.ok(lists.every((list) => list.split(",").filter((text) => text === "a").length === 1));
});

test("a text that was not tried yet is shown beside an older one that equals it", async (t) => {
	const script = new Script(t);
	script.answers[HISTORY] = history(message(1, "ok"));
	const chat = await script.chat();
	chat.send("ok");
	const lists = new Set();
	chat.subscribe(() => lists.add(states(chat).join()));
	script.socket.accept();
	await settle();
	assert.deepEqual(sends(script.socket), ["ok"]);
	script.socket.say({ error: "...", code: "temporarily_unavailable" });
	assert.deepEqual([...lists], ["ok sent,ok sending"]);
});

test("equal texts are told apart: only as many are hidden as the history has", async (t) => {
	const script = new Script(t);
	const chat = await script.openChat(message(1, "ok"));
	["ok", "ok", "ok"].forEach(chat.send);
	script.socket.end(1006);
	await script.pass(500);
	script.answers[HISTORY] = history(message(1, "ok"), message(2, "ok"));
	script.socket.accept({ type: "resume_complete", recovered: false, count: 0, read_up_to: null });
	await settle();
	assert.deepEqual(states(chat), ["ok sent", "ok sent", "ok sending", "ok sending"]);
});

test("a failed message is always shown, whatever equals it", async (t) => {
	const script = new Script(t);
	const chat = await script.openChat(message(1));
	chat.send("a");
	script.socket.say({ error: "...", code: "invalid_characters" });
	script.socket.end(1006);
	await script.pass(500);
	script.answers[HISTORY] = history(message(1), message(2, "a"));
	script.socket.accept({ type: "resume_complete", recovered: false, count: 0, read_up_to: null });
	await settle();
	assert.deepEqual(states(chat), ["1 sent", "a sent", "a failed"]);
});

// --- all conversations

/** A mentor's inbox in a browser that keeps these items. */
async function mentorsInbox(t, items) {
	const script = new Script(t);
	script.answers["auth/csrf/"] = { csrfToken: "t" };
	script.answers["auth/me/"] = MENTOR;
	const conversations = [7, 8, 9].map((id) => ({ ...CONVERSATION, id }));
	script.answers["chat/teacher/conversations/"] = { results: conversations, previous: null, next: null };
	for (const [key, text] of Object.entries(items)) script.tab.storage.setItem(key, text);
	const inbox = await script.inbox({ user: MENTOR });
	return [script, inbox];
}
const path = (id) => `POST chat/teacher/conversations/${id}/messages/`;
const listed = async (script) => {
	script.socket.readyState = 1;
	script.socket.say({ type: "inbox_established", unread_total: 0 });
	await settle();
};
const posted = (script) => script.posts.map((post) => [Number(post.path.match(/\d+/)?.[0]), post.body.content]);
const kept = (inbox) => Object.fromEntries(inbox.getSnapshot().kept);

test("what is kept is sent for all conversations of the user, in order, once the inbox is there", async (t) => {
	const [script, inbox] = await mentorsInbox(t, {
		"qader-chat:12:7:b": entry("b", "second", 2),
		"qader-chat:12:7:a": entry("a", "first", 1),
		"qader-chat:12:8:c": entry("c", "third", 3),
		"qader-chat:12:9:d": entry("d", "failed", 4, { error: "message_too_long" }),
		"qader-chat:12:9:e": "{",
		"qader-draft:12:9": "a draft",
		"qader-draft:12:8": " ",
	});
	assert.deepEqual(kept(inbox), {
		7: { draft: "", sending: 2, failed: 0 },
		8: { draft: "", sending: 1, failed: 0 },
		9: { draft: "a draft", sending: 0, failed: 1 },
	});
	script.answers[path(7)] = script.answers[path(8)] = message(1);
	await listed(script);
	assert.deepEqual(posted(script), [
		[7, "first"],
		[7, "second"],
		[8, "third"],
	]);
	assert.deepEqual(script.posts[0].body, { content: "first", client_id: "a" });
	await script.pass(200);
	assert.deepEqual(kept(inbox), { 9: { draft: "a draft", sending: 0, failed: 1 } });
});

test("a refusal marks its message, a temporary error is tried again, and nothing overtakes", async (t) => {
	const [script, inbox] = await mentorsInbox(t, {
		"qader-chat:12:7:a": entry("a", "refused", 1),
		"qader-chat:12:8:b": entry("b", "later", 2),
		"qader-chat:12:8:c": entry("c", "last", 3),
	});
	script.answers[path(7)] = { status: 403, body: { code: "conversation_closed" } };
	script.answers[path(8)] = { status: 503, body: { code: "temporarily_unavailable" } };
	await listed(script);
	assert.deepEqual(posted(script), [
		[7, "refused"],
		[8, "later"],
	]);
	await script.pass(200);
	assert.deepEqual(kept(inbox), { 7: { draft: "", sending: 0, failed: 1 }, 8: { draft: "", sending: 2, failed: 0 } });
	script.answers[path(8)] = message(1);
	await script.pass(2_000);
	assert.deepEqual(posted(script).slice(2), [
		[8, "later"],
		[8, "last"],
	]);
});

test("an open chat sends its own texts, and one that has closed leaves them to the inbox", async (t) => {
	const [script, inbox] = await mentorsInbox(t, {});
	await listed(script);
	const chat = await script.chat({ user: MENTOR, conversationId: 7, conversation: CONVERSATION });
	script.socket.accept();
	await settle();
	chat.send("hello");
	await script.pass(200);
	assert.deepEqual(kept(inbox), { 7: { draft: "", sending: 1, failed: 0 } });
	for (let n = 0; n < 5; n += 1) {
		await script.pass(2_000);
		if (n < 4) script.socket.say({ error: "...", code: "temporarily_unavailable" });
	}
	assert.deepEqual([posted(script), sends(script.socket).length > 3], [[], true]);
	chat.close();
	script.answers[path(7)] = message(1);
	await script.pass(11_000);
	assert.deepEqual(posted(script), [[7, "hello"]]);
	script.tab.origin.tab().storage.setItem("qader-chat:12:8:x", entry("x", "another tab's", Date.now()));
	script.answers[path(8)] = message(2);
	await script.pass(11_000);
	assert.deepEqual(posted(script), [
		[7, "hello"],
		[8, "another tab's"],
	]);
});

test("a tab that wakes up as the former user takes nothing from the next one, and shows them nothing", async (t) => {
	const next = { ...ME, id: 99 };
	for (const isRefused of [true, false]) {
		const script = new Script(t);
		const inbox = await script.inbox({ user: ME });
		await listed(script);
		assert.deepEqual(shown(inbox), ["open"]);
		script.tab.origin.tab().storage.setItem("qader-draft:99:7", "the next one's");
		script.answers["auth/me/"] = next;
		script.answers["chat/my-conversation/"] = { ...CONVERSATION, id: 8 };
		script.socket.end(1006);
		await script.pass(500);
		if (isRefused) {
			script.socket.end(1006);
			await settle();
		} else await listed(script);
		assert.deepEqual([shown(inbox), inbox.getSnapshot().conversations], [["stopped", "signed_out"], [CONVERSATION]]);
		assert.deepEqual([...script.tab.origin.items], [["qader-draft:99:7", "the next one's"]]);
	}
});

test("a text that the inbox tried without an answer is shown once when its conversation is opened", async (t) => {
	const [script] = await mentorsInbox(t, { "qader-chat:12:7:a": entry("a", "ok", 1) });
	const known = { ...CONVERSATION, last_message: message(5, "ok") };
	script.answers["chat/teacher/conversations/"] = { results: [known], previous: null, next: null };
	script.answers[path(7)] = new TypeError("Failed to fetch");
	await listed(script);
	assert.deepEqual(posted(script), [[7, "ok"]]);
	script.answers["chat/teacher/conversations/7/messages/"] = history(message(5, "ok"), message(6, "ok"));
	const chat = await script.chat({ user: MENTOR, conversationId: 7, conversation: known });
	const lists = new Set();
	chat.subscribe(() => chat.getSnapshot().isLoaded && lists.add(states(chat).join()));
	script.socket.accept();
	script.socket.say({ type: "resume_complete", recovered: false, count: 0, read_up_to: null });
	await settle();
	assert.deepEqual([...lists], ["ok sent,ok sent"]);
});

test("a student's inbox posts nothing to another mentor", async (t) => {
	const script = new Script(t);
	script.answers["auth/csrf/"] = { csrfToken: "t" };
	script.tab.storage.setItem("qader-chat:11:7:a", entry("a", "for you alone", 1));
	const inbox = await script.inbox({ user: ME });
	const ids = [7, 8]; // changed between the list and the send
	Object.defineProperty(script.answers, "chat/my-conversation/", {
		get: () => ({ ...CONVERSATION, id: ids.shift() ?? 8 }),
	});
	await listed(script);
	await script.pass(200);
	assert.deepEqual([posted(script), kept(inbox)], [[], { 7: { draft: "", sending: 0, failed: 1 } }]);
});

test("drafts of this page and of other tabs are known at once", async (t) => {
	const [script, inbox] = await mentorsInbox(t, {});
	await listed(script);
	assert.equal(keepDraft(draftKey(MENTOR, 7), "half a sen", script.options), true);
	script.tab.origin.tab().storage.setItem("qader-draft:12:8", "elsewhere");
	script.tab.origin.tab().storage.setItem("qader-draft:99:9", "somebody else's");
	await script.pass(200);
	assert.deepEqual(kept(inbox), {
		7: { draft: "half a sen", sending: 0, failed: 0 },
		8: { draft: "elsewhere", sending: 0, failed: 0 },
	});
	assert.equal(readDraft(draftKey(MENTOR, 7), script.options), "half a sen");
	keepDraft(draftKey(MENTOR, 7), "", script.options);
	await script.pass(200);
	assert.deepEqual(Object.keys(kept(inbox)), ["8"]);
});
