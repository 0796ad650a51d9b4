/** Two people talk while the network and the server fail: both see every message once, in the same order. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import {
	apiOf,
	Backend,
	chatOf,
	django,
	isOpen,
	newPair,
	numbers,
	proxyOf,
	settled,
	shows,
	stored,
	texts,
	until,
	watched,
} from "./backend.js";
import { Origin } from "./page.js";

const backend = new Backend();
const fragile = new Backend({ CHAT_RATE_LIMIT: "0" });
before(() => Promise.all([backend.start(), fragile.start()]));
after(() => Promise.all([backend.stop(), fragile.stop()]));

const arrived =
	(...wanted) =>
	(snapshot) =>
		settled(snapshot) && shows(...wanted)(snapshot);

test("connections are cut again and again while both send", async (t) => {
	t.mock.method(Math, "random", () => 0.1);
	const { student, teacher } = newPair();
	const proxy = await proxyOf(t, backend);
	const [one, other] = [chatOf(t, student, proxy), chatOf(t, teacher, proxy)];
	const checks = [watched(one), watched(other)];
	await until(one, isOpen);
	for (const [index, text] of numbers(60).entries()) {
		(index % 2 ? one : other).send(text);
		if (index % 12 === 7) proxy.cut();
		await sleep(10);
	}
	const complete = (snapshot) => settled(snapshot) && snapshot.messages.length === 60;
	const shown = await Promise.all([until(one, complete), until(other, complete)]);
	assert.deepEqual(texts(shown[0]), texts(shown[1]));
	assert.deepEqual(texts(shown[0]), await stored(student, backend));
	for (const parity of [0, 1]) {
		const own = texts(shown[0]).filter((text) => text % 2 === parity);
		assert.deepEqual(
			own,
			[...own].sort((a, b) => a - b),
		);
	}
	for (const check of checks) check();
});

test("the server is killed while sending, and started again", async (t) => {
	const { student, teacher } = newPair();
	t.mock.method(Math, "random", () => 0.1);
	const [one, other] = [chatOf(t, student, fragile), chatOf(t, teacher, fragile)];
	const checks = [watched(one), watched(other)];
	await Promise.all([until(one, isOpen), until(other, isOpen)]);
	for (const text of numbers(40)) {
		one.send(text);
		if (text === "20") await until(one, ({ messages }) => messages[5].id).then(fragile.kill);
	}
	await until(one, ({ status, reason }) => status === "waiting" && reason === "unavailable");
	one.send("41");
	await fragile.start();
	await Promise.all([until(one, arrived(...numbers(41))), until(other, arrived(...numbers(41)))]);
	assert.deepEqual(await stored(student, fragile), numbers(41));
	for (const check of checks) check();
});

test("clients reconnect after a server restart", async (t) => {
	const { student, teacher } = newPair();
	t.mock.method(Math, "random", () => 0.1);
	const [one, other] = [chatOf(t, student, fragile), chatOf(t, teacher, fragile)];
	await Promise.all([until(one, isOpen), until(other, isOpen)]);
	await fragile.stop();
	await until(one, ({ status }) => status === "waiting");
	one.send("Hello");
	await fragile.start();
	await until(other, arrived("Hello"));
});

test("messages on their way during a reload are sent once, and never shown twice", async (t) => {
	const { student, teacher } = newPair();
	const tab = new Origin().tab();
	const proxy = await proxyOf(t, backend);
	const before = chatOf(t, student, proxy, { tab });
	before.send("0");
	await until(before, arrived("0"));
	proxy.stall();
	before.send("1");
	before.send("2");
	before.close();
	// Store the first one over REST, as if only its acknowledgement had been lost.
	const [key] = [...tab.origin.items.keys()].sort((a, b) => at(tab, a) - at(tab, b));
	const { content, clientId } = JSON.parse(tab.origin.items.get(key));
	await apiOf(student, backend).post("chat/my-conversation/messages/", { content, client_id: clientId });
	proxy.mend();

	const reloaded = chatOf(t, student, proxy, { tab });
	const check = watched(reloaded);
	await until(reloaded, arrived("0", "1", "2"));
	assert.deepEqual(await stored(teacher, backend), ["0", "1", "2"]);
	assert.equal(tab.origin.items.size, 0);
	check();
});

const at = (tab, key) => JSON.parse(tab.origin.items.get(key)).at;

test("two tabs of a student show the same messages, and send each one once", async (t) => {
	const { student, teacher } = newPair();
	const origin = new Origin();
	const [one, two] = [origin.tab(), origin.tab()].map((tab) => chatOf(t, student, backend, { tab }));
	const other = chatOf(t, teacher, backend);
	await Promise.all([one, two, other].map((chat) => until(chat, isOpen)));
	const checks = [one, two, other].map(watched);
	one.send("1");
	assert.deepEqual(
		two.getSnapshot().messages.map(({ content, state }) => [content, state]),
		[["1", "sending"]],
	);
	await Promise.all([one, two].map((chat) => until(chat, arrived("1"))));
	two.send("2");
	one.send("3");
	await Promise.all(
		[one, two, other].map((chat) => until(chat, (snapshot) => settled(snapshot) && snapshot.messages.length === 3)),
	);
	assert.equal((await stored(student, backend)).length, 3);
	assert.equal(origin.items.size, 0);

	const failed = one.send("x".repeat(4001));
	const isFailed = ({ messages }) => messages.at(-1).state === "failed";
	await Promise.all([one, two].map((chat) => until(chat, isFailed)));
	two.discard(failed);
	assert.ok(settled(one.getSnapshot()));
	for (const check of checks) check();
});

test("another tab sends what a closed one could not", async (t) => {
	const { student, teacher } = newPair();
	const origin = new Origin();
	const [broken, whole] = [origin.tab(), origin.tab()];
	const proxy = await proxyOf(t, backend);
	const one = chatOf(t, student, proxy, { tab: broken });
	const two = chatOf(t, student, backend, { tab: whole });
	await Promise.all([one, two].map((chat) => until(chat, isOpen)));
	proxy.stall();
	numbers(3).forEach(one.send);
	one.close();
	broken.close();
	assert.deepEqual(texts(two.getSnapshot()), numbers(3));
	await until(two, arrived(...numbers(3)));
	assert.deepEqual(await stored(teacher, backend), numbers(3));
	assert.equal(origin.items.size, 0);
});

test("after a short absence a client gets the missed messages and read marks", async (t) => {
	const { student, teacher } = newPair();
	const proxy = await proxyOf(t, backend);
	const [one, other] = [chatOf(t, student, proxy), chatOf(t, teacher, backend)];
	other.send("1");
	one.send("2");
	const [first] = (await until(one, ({ messages }) => messages.length === 2 && settled({ messages }))).messages;
	await until(other, ({ messages }) => messages.length === 2);
	await proxy.stop();
	await until(one, ({ status }) => status === "waiting");
	numbers(9, 3).forEach(other.send);
	const { messages } = await until(other, (snapshot) => settled(snapshot) && snapshot.messages.length === 11);
	other.markVisible(messages.at(-1).id);
	const elsewhere = chatOf(t, student, backend);
	await until(elsewhere, isOpen);
	elsewhere.markVisible(messages.find(({ content }) => content === "8").id);
	await until(other, ({ messages }) => messages.some(({ content, state }) => content === "8" && state === "read"));

	await proxy.start();
	const back = await until(
		one,
		(snapshot) => isOpen(snapshot) && snapshot.messages.filter(({ is_read }) => is_read).length === 8,
	);
	assert.deepEqual(
		texts(back)
			.slice()
			.sort((a, b) => a - b),
		numbers(11),
	);
	assert.deepEqual(
		back.messages.filter(({ is_read }) => !is_read).map(({ content }) => content),
		["9", "10", "11"],
	);
	assert.notEqual(first.state, back.messages.find(({ id }) => id === first.id).is_read);
});

test("a client that missed more than the server replays gets the newest pages, and older ones on demand", async (t) => {
	const { student, teacher, conversation_id } = newPair();
	const proxy = await proxyOf(t, backend);
	const chat = chatOf(t, student, proxy);
	const check = watched(chat);
	chat.send("0");
	await until(chat, arrived("0"));
	await proxy.stop();
	chat.send("802");
	await django(`
conversation = Conversation.objects.get(pk=${conversation_id})
sender = conversation.teacher.user
Message.objects.bulk_create(Message(conversation=conversation, sender=sender, content=str(n), seq=n + 1) for n in range(1, 802))
Conversation.objects.filter(pk=conversation.pk).update(last_seq=802)
`);
	await proxy.start();
	await until(chat, (snapshot) => isOpen(snapshot) && settled(snapshot));
	assert.deepEqual(texts(chat.getSnapshot()), numbers(651, 152));
	while (chat.getSnapshot().hasOlder) await chat.loadOlder();
	assert.deepEqual(texts(chat.getSnapshot()), numbers(803, 0));
	check();
	assert.equal((await stored(teacher, backend)).length, 803);
});

test("the rate limit delays messages, but changes neither their order nor their number", async (t) => {
	const { student, teacher } = newPair();
	const [one, other] = [chatOf(t, student, backend), chatOf(t, teacher, backend)];
	const check = watched(one);
	numbers(35).forEach(one.send);
	await until(other, arrived(...numbers(35)));
	await until(one, arrived(...numbers(35)));
	check();
});
