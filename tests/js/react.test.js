/** The hooks in a real React, rendered by a server and in a page. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Window } from "happy-dom";
import * as React from "react";
import { renderToString } from "react-dom/server";

import { createUseChat } from "../../chat/static/chat/use-chat.js";
import { CONVERSATION, ME, message, Script, settle } from "./script.js";

const { useChat, useInbox } = createUseChat(React);
const html = React.createElement;

/** A page with an element for a React root. */
async function pageOf(t) {
	const { document, window } = new Window();
	globalThis.IS_REACT_ACT_ENVIRONMENT = true;
	Object.assign(globalThis, { window, document });
	globalThis.navigator ??= window.navigator; // Node 20 has none
	t.after(() => {
		for (const name of ["window", "document", "IS_REACT_ACT_ENVIRONMENT"]) delete globalThis[name];
	});
	const { createRoot, hydrateRoot } = await import("react-dom/client");
	const container = document.body.appendChild(document.createElement("main"));
	return { container, createRoot, hydrateRoot };
}

function Chat({ options }) {
	const { status, messages, send, markVisible } = useChat(options);
	const button = html("button", { onClick: () => send("Hello") }, status);
	return html(
		"section",
		null,
		button,
		messages.map(({ key, content, state }) => html("p", { key, title: state }, content)),
		typeof markVisible,
	);
}

function Inbox({ options }) {
	return useInbox(options).conversations.map(({ id }) => `conversation ${id}`);
}

test("a server renders the empty snapshot and connects nowhere; the page takes it over", async (t) => {
	const script = new Script(t);
	const element = html(Chat, { options: { ...script.options, user: ME } });
	const rendered = renderToString(element);
	assert.equal(rendered, "<section><button>connecting</button>function</section>");
	assert.deepEqual([script.requests, script.sockets], [[], []]);

	const { container, hydrateRoot } = await pageOf(t);
	container.innerHTML = rendered;
	const errors = [];
	const root = await React.act(() =>
		hydrateRoot(container, element, { onRecoverableError: (error) => errors.push(error) }),
	);
	await React.act(() => script.pass(0));
	await React.act(async () => {
		script.socket.accept();
		await settle();
	});
	assert.equal(container.textContent, "openfunction");
	assert.deepEqual(errors, []);
	await React.act(() => root.unmount());
	assert.equal(script.socket.readyState, 3);
});

test("a mounted component is connected once, in a strict React, too", async (t) => {
	const script = new Script(t);
	const { container, createRoot } = await pageOf(t);
	const root = createRoot(container);
	const render = (options) => React.act(() => root.render(html(React.StrictMode, null, html(Chat, { options }))));
	const begin = (frame) =>
		React.act(async () => {
			await script.pass(0);
			script.socket.accept(...(frame ? [frame] : []));
			await settle();
		});
	await render({ ...script.options, user: ME });
	await begin({ type: "new_message", message: message(1) });
	assert.deepEqual([script.sockets.length, container.textContent], [1, "open1function"]);

	await render({ ...script.options, user: { ...ME } }); // another object with the same id: the same chat
	await React.act(() => script.pass(1000));
	assert.deepEqual([script.sockets.length, container.textContent], [1, "open1function"]);
	await React.act(() => container.querySelector("button").click());
	const [{ message: said, client_id }] = script.socket.said;
	assert.deepEqual([said, container.querySelector("p:last-of-type").title], ["Hello", "sending"]);
	const item = container.querySelector("p:last-of-type");
	await React.act(() => script.socket.say({ type: "new_message", message: message(2, said), client_id }));
	assert.equal(container.querySelector("p:last-of-type"), item, "the same element");
	assert.equal(item.title, "sent");

	await render({ ...script.options, user: ME, conversationId: 7, conversation: CONVERSATION });
	await begin();
	assert.deepEqual(
		script.sockets.map(({ readyState }) => readyState),
		[3, 1],
	);
	assert.equal(container.textContent, "openfunction");
	await React.act(() => root.unmount());
	await script.pass(60_000);
	assert.deepEqual(
		script.sockets.map(({ readyState }) => readyState),
		[3, 3],
	);
});

test("an inbox is a hook, too", async (t) => {
	const script = new Script(t);
	const { container, createRoot } = await pageOf(t);
	const root = createRoot(container);
	await React.act(() => root.render(html(Inbox, { options: { ...script.options, user: ME } })));
	await React.act(async () => {
		await script.pass(0);
		script.socket.say({ type: "inbox_established", unread_total: 0 });
		await settle();
	});
	assert.equal(container.textContent, "conversation 7");
	await React.act(() => root.unmount());
});
