/** Conversations that can only be read: closed or locked meanwhile, and those with former mentors. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { createFormerChat, listFormer } from "../../chat/static/chat/client.js";
import { CONVERSATION, ME, message, Script, settle, shown, theirs } from "./script.js";

const FORMER = "chat/my-conversation/former/";
const CLOSED = { ...CONVERSATION, is_active: false };
const state = (is_active, is_locked) => ({ type: "conversation_state", is_active, is_locked });

test("the state of the conversation follows the server", async (t) => {
	const script = new Script(t);
	const chat = await script.openChat(message(1));
	const seen = () => {
		const { is_active, is_locked } = chat.getSnapshot().conversation;
		return [is_active, is_locked];
	};
	assert.equal(script.socket.query.get("events"), "1");
	assert.deepEqual(seen(), [true, false]);
	for (const now of [
		[true, true],
		[false, true],
		[true, false],
	]) {
		script.socket.say(state(...now));
		assert.deepEqual(seen(), now);
	}
	assert.equal(chat.getSnapshot().conversation.id, CONVERSATION.id);
});

for (const code of ["account_locked", "conversation_locked"])
	test(`a message that is refused with ${code} has failed and can be sent again`, async (t) => {
		const script = new Script(t);
		const chat = await script.openChat(message(1));
		const clientId = chat.send("may I?");
		script.socket.say({ error: "No.", code });
		const failed = () => chat.getSnapshot().messages.map(({ state, error }) => [state, error]);
		assert.deepEqual(failed().at(-1), ["failed", code]);
		chat.retry(clientId);
		assert.deepEqual(failed().at(-1), ["sending", null]);
		assert.deepEqual(
			script.socket.said.filter((frame) => frame.message).map((frame) => frame.client_id),
			[clientId, clientId],
		);
	});

test("a former conversation is fetched and read, page by page, and cannot be written", async (t) => {
	const script = new Script(t);
	script.answers[FORMER] = { results: [CLOSED], next: null };
	assert.deepEqual(await listFormer(script.options), [CLOSED]);
	assert.deepEqual(script.requests, [`${FORMER}?page_size=200&page=1`]);
	script.answers[`${FORMER}7/messages/`] = { results: [message(3), theirs(4)], next: null, previous: "older" };
	const chat = createFormerChat({ ...script.options, user: ME, conversation: CLOSED });
	assert.deepEqual(shown(chat).slice(0, 1), ["connecting"]);
	chat.open();
	chat.open();
	await settle();
	const { status, isLoaded, hasOlder, messages, conversation } = chat.getSnapshot();
	assert.deepEqual([status, isLoaded, hasOlder, conversation], ["open", true, true, CLOSED]);
	assert.deepEqual(
		messages.map(({ id, key, state }) => [id, key, state]),
		[
			[3, "3", "sent"],
			[4, "4", "received"],
		],
	);
	assert.equal(chat.send("no"), null);
	script.answers[`${FORMER}7/messages/`] = { results: [theirs(1), message(2)], next: null, previous: null };
	await Promise.all([chat.loadOlder(), chat.loadOlder()]);
	await chat.loadOlder();
	assert.deepEqual(
		chat.getSnapshot().messages.map(({ id }) => id),
		[1, 2, 3, 4],
	);
	assert.deepEqual(script.requests.slice(1), [
		`${FORMER}7/messages/?mark_read=false&limit=50`,
		`${FORMER}7/messages/?mark_read=false&limit=50&before=3`,
	]);
	assert.deepEqual([script.sockets, chat.getSnapshot().hasOlder], [[], false]);
	script.answers["auth/csrf/"] = { csrfToken: "token" };
	script.answers["chat/conversations/7/mark-read/"] = { detail: "1 messages marked as read." };
	chat.markVisible(4);
	chat.markVisible(4);
	await settle();
	assert.deepEqual(
		script.posts.map(({ path }) => path),
		["chat/conversations/7/mark-read/?message_id=4"],
	);
	script.answers["POST chat/messages/4/report/"] = { status: 201, body: { id: 5, message: 4 } };
	assert.deepEqual(await chat.report(4, "not right"), { id: 5, message: 4 });
	assert.deepEqual(script.posts.at(-1), { path: "chat/messages/4/report/", body: { reason: "not right" } });
	chat.close();
	assert.deepEqual(shown(chat).slice(0, 2), ["stopped", "closed"]);
});
