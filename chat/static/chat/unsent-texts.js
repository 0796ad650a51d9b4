/** What a user has written and not sent, by conversation: messages without an answer, and drafts. */

import { listUnsent } from "./client.js";
import { draftKey } from "./composer.js";
import { storage } from "./elements.js";
import { gettext } from "./texts.js";

const SOON = 2_000; // milliseconds: a message that is younger is being sent

/** Calls `changed` after a change. */
export function createUnsentTexts(changed) {
	let user = null;
	let known = ""; // all of it, to see whether it has changed
	let messages = new Map(); // conversation id -> text
	let drafts = new Map();
	let timer;

	function read() {
		if (!user) return;
		clearTimeout(timer);
		const all = listUnsent(user);
		const old = all.filter(({ at }) => Date.now() - at >= SOON);
		if (old.length < all.length) timer = setTimeout(read, SOON);
		messages = new Map(old.map(({ conversationId, content }) => [conversationId, content]));
		const keys = storage.keys(draftKey(user, "")).filter((key) => storage.get(key).trim());
		drafts = new Map(keys.map((key) => [Number(key.split(":")[2]), storage.get(key)]));
		const before = known;
		known = JSON.stringify([...messages, null, ...drafts]);
		if (known !== before) changed();
	}

	window.addEventListener("storage", read);

	return {
		read,
		open(newUser) {
			user = newUser;
			read();
		},
		close() {
			clearTimeout(timer);
			user = null;
			known = "";
		},
		/** `{label, content}` for a conversation, or null. */
		of(id, withDraft) {
			if (messages.has(id)) return { label: gettext("Not sent:"), content: messages.get(id) };
			if (withDraft && drafts.has(id)) return { label: gettext("Draft:"), content: drafts.get(id) };
			return null;
		},
	};
}
