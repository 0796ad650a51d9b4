/** Two people talk, each with the client, on a real server without faults. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { createApi } from "../../chat/static/chat/client.js";
import {
	Backend,
	chatOf,
	inboxOf,
	isOpen,
	newPair,
	numbers,
	settled,
	shows,
	texts,
	until,
	watched,
} from "./backend.js";
import { Origin } from "./page.js";

const backend = new Backend({ CHAT_RATE_LIMIT: "0" });
before(() => backend.start());
after(() => backend.stop());

test("a message is shown at once, sent once it is stored, and read once the other side has seen it", async (t) => {
	const { student, teacher } = newPair();
	const [one, other] = [chatOf(t, student, backend), chatOf(t, teacher, backend)];
	await Promise.all([until(one, isOpen), until(other, isOpen)]);
	const states = [];
	one.subscribe(() => states.push(one.getSnapshot().messages.at(-1)?.state));

	const clientId = one.send("Hello");
	const [sending] = one.getSnapshot().messages;
	assert.deepEqual(
		[sending.id, sending.state, sending.content, sending.clientId, sending.is_own_message],
		[null, "sending", "Hello", clientId, true],
	);
	const [received] = (await until(other, shows("Hello"))).messages;
	assert.deepEqual([received.state, received.is_read, received.clientId], ["received", false, null]);
	other.markVisible(received.id);
	const [read] = (await until(one, ({ messages }) => messages[0].state === "read")).messages;
	assert.equal(read.key, sending.key);
	assert.equal(read.id, received.id);
	assert.deepEqual([...new Set(states)], ["sending", "sent", "read"]);
	await until(other, ({ messages }) => messages[0].is_read);
});

test("many messages in a row arrive in order", async (t) => {
	const { student, teacher } = newPair();
	const [one, other] = [chatOf(t, student, backend), chatOf(t, teacher, backend)];
	const checks = [watched(one), watched(other)];
	for (const text of numbers(20)) one.send(text); // before there is a connection
	await until(one, isOpen);
	for (const text of numbers(20, 21)) one.send(text);
	await until(other, shows(...numbers(40)));
	await until(one, (snapshot) => settled(snapshot) && shows(...numbers(40))(snapshot));
	for (const check of checks) check();
});

test("the history is fetched page by page", async (t) => {
	const { student } = newPair();
	const writer = chatOf(t, student, backend);
	numbers(120).forEach(writer.send);
	await until(writer, settled);

	const reader = chatOf(t, student, backend);
	const check = watched(reader);
	assert.deepEqual(texts(await until(reader, isOpen)), numbers(50, 71));
	const calls = [reader.loadOlder(), reader.loadOlder()];
	assert.equal(reader.getSnapshot().isLoadingOlder, true);
	writer.send("121");
	await Promise.all([...calls, until(reader, ({ messages }) => messages.length === 101)]);
	assert.equal(reader.getSnapshot().hasOlder, true);
	await reader.loadOlder();
	assert.deepEqual(texts(reader.getSnapshot()), numbers(121));
	assert.deepEqual([reader.getSnapshot().hasOlder, reader.getSnapshot().isLoadingOlder], [false, false]);
	await reader.loadOlder();
	assert.equal(reader.getSnapshot().messages.length, 121);
	check();
});

test("the history begins with all that is unread", async (t) => {
	const { student, teacher } = newPair();
	const [writer, answering] = [chatOf(t, student, backend), chatOf(t, teacher, backend)];
	await until(answering, isOpen);
	answering.send("before");
	await until(answering, settled);
	numbers(120).forEach(writer.send);
	await until(writer, settled);
	const reader = chatOf(t, teacher, backend);
	const { messages, hasOlder } = await until(reader, isOpen);
	assert.deepEqual([texts({ messages }), hasOlder], [["before", ...numbers(120)], false]);
});

test("messages that were read are also read on older pages", async (t) => {
	const { student, teacher } = newPair();
	const [writer, answering] = [chatOf(t, student, backend), chatOf(t, teacher, backend)];
	numbers(10).forEach(writer.send);
	await until(answering, ({ messages }) => messages.length === 10);
	answering.send("an answer, with which the newest page begins");
	await until(answering, settled);
	numbers(49, 11).forEach(writer.send);
	await until(writer, settled);
	const reader = chatOf(t, teacher, backend);
	const { messages, hasOlder } = await until(reader, isOpen);
	assert.deepEqual([messages.length, hasOlder], [50, true]);
	reader.markVisible(messages.at(-1).id);
	const isRead = ({ messages }) => messages.every(({ state, is_read }) => state !== "received" || is_read);
	await until(reader, isRead);
	await reader.loadOlder();
	assert.deepEqual([reader.getSnapshot().messages.length, isRead(reader.getSnapshot())], [60, true]);
});

test("a message on a hidden page is not read", async (t) => {
	const { student, teacher } = newPair();
	const tab = new Origin().tab();
	const [one, other] = [chatOf(t, student, backend), chatOf(t, teacher, backend, { tab })];
	await until(other, isOpen);
	tab.hide();
	one.send("Hello");
	const [{ id }] = (await until(other, shows("Hello"))).messages;
	other.markVisible(id);
	one.send("Are you there?");
	await until(other, shows("Hello", "Are you there?"));
	assert.equal(one.getSnapshot().messages[0].state, "sent");
	tab.show();
	const { messages } = await until(one, ({ messages }) => messages[0].state === "read");
	assert.equal(messages[1].state, "sent");
});

test("a refused message fails with its code, and those behind it are sent", async (t) => {
	const { student } = newPair();
	const chat = chatOf(t, student, backend);
	const tooLong = chat.send("x".repeat(4001));
	chat.send("\0");
	chat.send("fine");
	const { messages } = await until(chat, ({ messages }) => messages[0]?.content === "fine" && messages[0].id);
	assert.deepEqual(
		messages.map(({ state, error }) => [state, error]),
		[
			["sent", null],
			["failed", "message_too_long"],
			["failed", "invalid_characters"],
		],
	);
	chat.retry(tooLong);
	await until(chat, ({ messages }) => messages[1].content === "\0" && messages[2].state === "failed");
	for (const { clientId } of chat.getSnapshot().messages) chat.discard(clientId);
	assert.deepEqual(texts(chat.getSnapshot()), ["fine"]);
	assert.equal(chat.send(" \n"), null);
});

test("typing is shown until the other side stops or sends", async (t) => {
	const { student, teacher } = newPair();
	const [one, other] = [chatOf(t, student, backend), chatOf(t, teacher, backend)];
	await Promise.all([until(one, isOpen), until(other, isOpen)]);
	other.setTyping(true);
	await until(one, ({ typing }) => typing);
	other.setTyping(false);
	await until(one, ({ typing }) => !typing);
	other.setTyping(true);
	await until(one, ({ typing }) => typing);
	other.send("Hello");
	await until(one, ({ typing, messages }) => !typing && messages.length === 1);
});

test("the presence of the other side is shown", async (t) => {
	const { student, teacher } = newPair();
	const one = chatOf(t, student, backend);
	await until(one, ({ presence }) => presence?.is_online === false);
	const other = chatOf(t, teacher, backend);
	await until(one, ({ presence }) => presence.is_online);
	other.close();
	const { presence } = await until(one, ({ presence }) => !presence.is_online);
	assert.ok(Date.now() - Date.parse(presence.last_seen) < 60_000);
});

test("an inbox shows the news of each conversation", async (t) => {
	const { student, teacher, conversation_id } = newPair();
	const [inbox, own] = [inboxOf(t, teacher, backend), inboxOf(t, student, backend)];
	await Promise.all([until(inbox, isOpen), until(own, isOpen)]);
	const chat = chatOf(t, student, backend);
	chat.send("Hello");
	const { conversations } = await until(inbox, ({ unreadTotal }) => unreadTotal === 1);
	assert.deepEqual(
		conversations.map(({ id, last_message, unread_message_count_for_user }) => [
			id,
			last_message.content,
			last_message.is_own_message,
			unread_message_count_for_user,
		]),
		[[conversation_id, "Hello", false, 1]],
	);
	await until(own, ({ conversations, unreadTotal }) => conversations[0].last_message && unreadTotal === 0);

	const { user } = inbox.getSnapshot();
	const reader = chatOf(t, teacher, backend, { user, conversation: conversations[0] });
	const { messages } = await until(reader, isOpen);
	reader.markVisible(messages[0].id);
	await until(inbox, ({ unreadTotal }) => unreadTotal === 0);
});

test("sign in, ask who is signed in, sign out", async () => {
	const { student } = newPair();
	const cookies = new Map(); // a browser does this by itself
	const fetchWithCookies = async (url, init) => {
		const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join("; ");
		const answer = await fetch(url, { ...init, headers: { ...init.headers, cookie, origin: backend.url } });
		for (const line of answer.headers.getSetCookie()) cookies.set(...line.split(";")[0].split("="));
		return answer;
	};
	const api = createApi({ baseUrl: backend.url, fetch: fetchWithCookies });
	await assert.rejects(api.me(), { name: "ApiError", status: 401, code: "not_authenticated" });
	await assert.rejects(api.login(student.username, "wrong"), { status: 400, message: "Wrong user name or password." });
	const user = await api.login(student.username, "qader-demo-2026");
	assert.equal(user.username, student.username);
	assert.deepEqual(await api.me(), user);
	await assert.rejects(api.post("chat/my-conversation/messages/", { content: " " }), {
		status: 400,
		code: "empty_message",
	});
	await api.logout();
	await assert.rejects(api.me(), { status: 401 });
});
