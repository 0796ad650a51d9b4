/** The field for a new message. The draft is kept per conversation until it is sent. */

import { $, setText, storage } from "./elements.js";
import { gettext, ngettext, number } from "./texts.js";

const NEAR = 0.9; // of the limit; from here on, the note counts characters

/** Where a draft is stored; client.js removes it by the form of this name. */
export const draftKey = (user, conversationId) => `qader-draft:${user.id}:${conversationId}`;

/** Calls `send` with the text, and `typing` with whether there is any. */
export function createComposer({ send, typing }) {
	const limit = Number(document.body.dataset.limit); // code points
	const draft = $("draft");
	const growsAlone = CSS.supports("field-sizing", "content");
	// An on-screen keyboard has no Shift+Enter, so Enter begins a new line there.
	const touch = matchMedia("(hover: none) and (pointer: coarse)");
	let key = null; // the draft's key in the storage
	let delay = ""; // why the last message is not sent yet

	const lengthOf = (text) => [...text].length;

	function changed() {
		const length = lengthOf(draft.value);
		const over = length - limit;
		const rest = gettext("{length} of {limit} characters", { length: number(length), limit: number(limit) });
		const tooLong = ngettext("{count} character too many", "{count} characters too many", over);
		setText($("composer-note"), over > 0 ? tooLong : length >= limit * NEAR ? rest : delay);
		$("composer-note").classList.toggle("is-over", over > 0);
		draft.ariaInvalid = String(over > 0);
		$("send").disabled = over > 0 || !draft.value.trim();
		if (!growsAlone) {
			draft.style.height = "auto";
			draft.style.height = `${draft.scrollHeight + 2}px`;
		}
	}

	function submit() {
		if ($("send").disabled) return;
		send(draft.value);
		set("");
		storage.set(key, "");
		draft.focus();
	}

	function set(text) {
		draft.value = text;
		changed();
	}

	$("composer").addEventListener("submit", (event) => {
		event.preventDefault();
		submit();
	});
	draft.addEventListener("input", () => {
		changed();
		if (key) storage.set(key, draft.value);
		typing(Boolean(draft.value.trim()));
	});
	draft.addEventListener("blur", () => typing(false));
	draft.addEventListener("keydown", (event) => {
		if (event.key !== "Enter" || event.shiftKey || event.isComposing || touch.matches) return;
		event.preventDefault();
		submit();
	});
	$("send").addEventListener("pointerdown", (event) => event.preventDefault()); // keeps the focus, and with it the keyboard

	return {
		/** Empty the field for another conversation; `open` brings its draft. */
		clear() {
			key = null;
			set("");
		},
		/** Restore the saved draft, unless the user has begun to write. */
		open(newKey) {
			if (key === newKey) return;
			key = newKey;
			if (draft.value) storage.set(key, draft.value);
			else set(storage.get(key));
		},
		/** Show why sending waits. */
		tell(text) {
			delay = text;
			changed();
		},
		focus: () => touch.matches || draft.focus(),
	};
}
