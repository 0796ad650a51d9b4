/** The button that signs out. What is not sent yet is named first, because it is deleted. */

import { listUnsent } from "./client.js";
import { draftKey } from "./composer.js";
import { $, setText, storage } from "./elements.js";
import { gettext, ngettext } from "./texts.js";

const EXCERPT = 80; // characters of each text
const MARK = "qader-signed-out"; // written for a moment at each sign-out: the other tabs are told

/** The user's messages and drafts. What is not stored, because the browser forbids it, is only in the open chats. */
function unsentOf(user, chats) {
	const messages = chats.flatMap((chat) => chat.getSnapshot().messages);
	const unsent = [...listUnsent(user), ...messages.filter(({ id }) => id === null)];
	const texts = new Map(unsent.map(({ clientId, content }) => [clientId, content]));
	const drafts = storage.keys(draftKey(user, "")).map(storage.get);
	return [...texts.values(), ...drafts].filter((text) => text.trim());
}

/**
 * Calls `leaving` with whether the sockets are being closed, `left` after a sign-out, here or with a notice in another
 * tab, and `stay` when the user does not want to sign out.
 */
export function createSignOut(api, { who, leaving, left, stay }) {
	/** Take back the question. */
	function hide() {
		$("unsent").hidden = true;
		$("sign-out").hidden = false;
	}

	function ask() {
		const { user, chats } = who();
		const texts = unsentOf(user, chats);
		if (!texts.length) return signOut();
		const title = ngettext("{count} text is not sent yet:", "{count} texts are not sent yet:", texts.length);
		setText($("unsent-title"), title);
		const items = texts.map((text) => {
			const item = document.createElement("li");
			item.dir = "auto";
			setText(item, text.slice(0, EXCERPT));
			return item;
		});
		$("unsent-texts").replaceChildren(...items);
		$("unsent").hidden = false;
		$("sign-out").hidden = true;
		$("stay").focus();
	}

	async function signOut() {
		leaving(true); // the sockets may be closed before the answer comes
		try {
			await api.logout();
			gone();
		} catch {
			setText($("sign-out-error"), gettext("The server cannot be reached: you are still signed in."));
		}
		leaving(false);
	}

	function gone() {
		left();
		storage.set(MARK, "now");
		storage.set(MARK, "");
	}

	$("sign-out").addEventListener("click", ask);
	$("sign-out-anyway").addEventListener("click", signOut);
	$("stay").addEventListener("click", stay);
	window.addEventListener("storage", ({ key, newValue }) => {
		if (key !== MARK || !newValue || !who().user) return;
		left(gettext("You were signed out."));
		for (const text of storage.keys("qader-")) storage.set(text, ""); // written since the other tab removed them
	});
	return { hide };
}
