/** Connections that the server refuses or closes. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { createChat } from "../../chat/static/chat/client.js";
import {
	apiOf,
	Backend,
	chatOf,
	django,
	inboxOf,
	isOpen,
	newPair,
	proxyOf,
	settled,
	shows,
	signedIn,
	stored,
	texts,
	until,
} from "./backend.js";

const MOST_SOCKETS = 3;
const settings = { CHAT_MAX_SOCKETS_PER_USER: String(MOST_SOCKETS), CHAT_RATE_LIMIT: "0", CHAT_HEAL_SECONDS: "2" };
const backend = new Backend(settings);
before(() => backend.start());
after(() => backend.stop());

const arrived =
	(...wanted) =>
	(snapshot) =>
		settled(snapshot) && shows(...wanted)(snapshot);
const isStopped = (reason) => (snapshot) => snapshot.status === "stopped" && snapshot.reason === reason;
const profile = (person) => `UserProfile.objects.get(user_id=${person.user_id})`;

/** The chat, with the sockets that it opened. */
function counted(t, person, options = signedIn(person, backend)) {
	const chat = createChat(options);
	t.after(chat.close);
	chat.open();
	return [chat, options.sockets];
}

test("signing out in one tab stops the chats of all tabs, and none reconnects", async (t) => {
	const { student } = newPair();
	const [chat, sockets] = counted(t, student);
	const inbox = inboxOf(t, student, backend);
	await Promise.all([until(chat, isOpen), until(inbox, isOpen)]);
	await apiOf(student, backend).logout();
	await Promise.all([until(chat, isStopped("signed_out")), until(inbox, isStopped("signed_out"))]);
	await sleep(1000);
	assert.equal(sockets.length, 1);
	chat.open();
	await until(chat, isStopped("signed_out"));
	assert.equal(sockets.length, 1);
});

test("a deactivated user is signed out", async (t) => {
	const { student } = newPair();
	const [chat] = counted(t, student);
	await until(chat, isOpen);
	await django(`user = User.objects.get(pk=${student.user_id}); user.is_active = False; user.save()`);
	await until(chat, isStopped("signed_out"));
});

test("a user who is not signed in, has no mentor or is no participant gets the reason", async (t) => {
	const [{ student, teacher }, other] = [newPair(), newPair()];
	const [nobody, sockets] = counted(t, {}, signedIn({ ...student, session_key: "x" }, backend));
	await until(nobody, isStopped("signed_out"));
	assert.equal(sockets.length, 0);

	const theirs = { conversationId: other.conversation_id };
	const [stranger] = counted(t, teacher, { ...signedIn(teacher, backend), ...theirs });
	const [child] = counted(t, student, { ...signedIn(student, backend), ...theirs });
	const [grown] = counted(t, teacher);
	await Promise.all([stranger, child, grown].map((chat) => until(chat, isStopped("not_allowed"))));

	const [user, conversation] = await Promise.all(
		["auth/me/", "chat/my-conversation/"].map(apiOf(student, backend).get),
	);
	await django(`profile = ${profile(student)}; profile.assigned_mentor = None; profile.save()`);
	const [lonely] = counted(t, student);
	await until(lonely, isStopped("no_mentor"));
	// With stale options the client opens a socket at once, which is refused; then it asks REST.
	const [late, tried] = counted(t, student, { ...signedIn(student, backend), user, conversation });
	await until(late, isStopped("no_mentor"));
	assert.equal(tried.length, 1);
});

test("one socket too many is served by REST until another one is closed", async (t) => {
	const { student } = newPair();
	const chats = Array.from({ length: MOST_SOCKETS }, () => chatOf(t, student, backend));
	await Promise.all(chats.map((chat) => until(chat, isOpen)));
	const last = chatOf(t, student, backend);
	await until(last, ({ status, reason }) => status === "polling" && reason === "blocked");
	last.send("over REST");
	await Promise.all([last, chats[1]].map((chat) => until(chat, arrived("over REST"))));
	chats[0].close();
	await until(last, isOpen);
});

test("after a change of mentor the student has a new conversation, and the old mentor can still read", async (t) => {
	const [{ student, teacher, conversation_id }, { teacher: next }] = [newPair(), newPair()];
	const [one, former] = [chatOf(t, student, backend), chatOf(t, teacher, backend)];
	one.send("Hello");
	await until(former, (snapshot) => isOpen(snapshot) && shows("Hello")(snapshot));
	await django(`profile = ${profile(student)}; profile.assigned_mentor = ${profile(next)}; profile.save()`);

	const moved = await until(one, (snapshot) => isOpen(snapshot) && snapshot.conversation.id !== conversation_id);
	assert.deepEqual([texts(moved), moved.isLoaded, moved.conversation.is_active], [[], true, true]);
	const left = await until(former, (snapshot) => isOpen(snapshot) && !snapshot.conversation.is_active);
	assert.deepEqual(texts(left), ["Hello"]);
	former.send("Are you still there?");
	const { messages } = await until(former, ({ messages }) => messages.at(-1).state === "failed");
	assert.equal(messages.at(-1).error, "conversation_closed");

	one.send("Hello, new mentor");
	const mentor = chatOf(t, { ...next, path: `conversations/${moved.conversation.id}/` }, backend);
	await until(mentor, shows("Hello, new mentor"));
});

test("a message that could not be sent before the mentor changed fails, and the new mentor does not get it", async (t) => {
	const [{ student, teacher }, { teacher: next }] = [newPair(), newPair()];
	const proxy = await proxyOf(t, backend);
	const chat = chatOf(t, student, proxy);
	await until(chat, isOpen);
	await proxy.stop();
	const clientId = chat.send("For you alone");
	await django(`profile = ${profile(student)}; profile.assigned_mentor = ${profile(next)}; profile.save()`);
	await proxy.start();
	const { messages } = await until(chat, (snapshot) => isOpen(snapshot) && snapshot.messages[0]?.state === "failed");
	assert.deepEqual([messages[0].content, messages[0].error], ["For you alone", "conversation_closed"]);
	assert.deepEqual([await stored(student, backend), await stored(teacher, backend)], [[], []]);
	chat.retry(clientId);
	await until(chat, ({ messages }) => messages[0].state === "sent");
});

test("a deleted conversation stops for its mentor, and begins again for its student", async (t) => {
	const { student, teacher, conversation_id } = newPair();
	const [one, other] = [chatOf(t, student, backend), chatOf(t, teacher, backend)];
	await Promise.all([until(one, isOpen), until(other, isOpen)]);
	await django(`Conversation.objects.get(pk=${conversation_id}).delete()`);
	await until(other, isStopped("not_allowed"));
	await until(one, (snapshot) => isOpen(snapshot) && snapshot.conversation.id !== conversation_id);
});

test("a frame that is too big closes the connection, and only its own message fails", async (t) => {
	const { student } = newPair();
	const [chat, sockets] = counted(t, student);
	await until(chat, isOpen);
	chat.send("x".repeat(70_000));
	chat.send("fine");
	const { messages } = await until(chat, ({ messages }) => messages[0].state === "sent");
	assert.deepEqual(
		messages.map(({ content, state, error }) => [content.length, state, error]),
		[
			[4, "sent", null],
			[70_000, "failed", "message_too_long"],
		],
	);
	assert.equal(sockets.length, 2);
});

test("a flood leads to a long wait, which going online does not shorten", async (t) => {
	const { student } = newPair();
	const options = signedIn(student, backend);
	const [chat] = counted(t, student, options);
	await until(chat, isOpen);
	for (let n = 0; n < 110; n += 1) chat.send("\0");
	const { reason, retryAt } = await until(chat, ({ status }) => status === "waiting");
	assert.equal(reason, "too_many");
	assert.ok(retryAt > Date.now() + 25_000);
	options.window.dispatchEvent(new Event("online"));
	assert.equal(chat.getSnapshot().status, "waiting");
});

test("when another user has signed in, the chat stops and shows nothing of theirs", async (t) => {
	const [{ student }, { student: other }] = [newPair(), newPair()];
	const proxy = await proxyOf(t, backend);
	let person = student;
	const options = signedIn(student, proxy);
	// The client calls it with `new`.
	function socketOfPerson(url) {
		return new (signedIn(person, proxy).WebSocket)(url);
	}
	const browser = {
		...options,
		fetch: (...request) => signedIn(person, proxy).fetch(...request),
		WebSocket: socketOfPerson,
	};
	const [chat] = counted(t, student, browser);
	chat.send("Hello");
	await until(chat, (snapshot) => isOpen(snapshot) && settled(snapshot));
	await proxy.stop();
	chat.send("Mine");
	person = other;
	await proxy.start();
	const { user, messages } = await until(chat, isStopped("signed_out"));
	assert.equal(user.id, student.user_id);
	assert.deepEqual(texts({ messages }), ["Hello", "Mine"]);
	assert.deepEqual(await stored(other, backend), []);
});
