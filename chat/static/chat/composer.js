/** The field for a new message. The draft is kept per conversation until it is sent. */

import { announce } from "./announcer.js";
import { draftKey, keepDraft, readDraft } from "./client.js";
import { $, setText } from "./elements.js";
import { gettext, ngettext, number } from "./texts.js";

const NEAR = 0.9; // of the limit; from here on, the note counts characters

export { draftKey };

/** Both texts, one below the other, unless one of them contains the other. */
function merged(stored, text) {
	if (stored.includes(text)) return stored;
	return text.includes(stored) ? text : `${stored}\n${text}`;
}

/** What is left of a stored draft when this text was sent: another tab may have merged its own into it. */
function without(stored, sent) {
	if (stored === sent) return "";
	if (stored.startsWith(`${sent}\n`)) return stored.slice(sent.length + 1);
	return stored.endsWith(`\n${sent}`) ? stored.slice(0, -sent.length - 1) : stored;
}

/** Calls `send` with the text, and `typing` with whether there is any. */
export function createComposer({ send, typing }) {
	const limit = Number(document.body.dataset.limit); // code points
	const draft = $("draft");
	const growsAlone = CSS.supports("field-sizing", "content");
	// An on-screen keyboard has no Shift+Enter, so Enter begins a new line there.
	const touch = matchMedia("(hover: none) and (pointer: coarse)");
	let key = null; // the draft's key in the storage
	let delay = ""; // why the last message is not sent yet
	let refusal = ""; // why something was not taken; until the next change
	let isKept = true; // whether the draft is stored
	let isFollowing = true; // the stored draft, which another tab may change: nothing was written here since

	const lengthOf = (text) => [...text].length;

	function changed() {
		const length = lengthOf(draft.value);
		const over = length - limit;
		const rest = gettext("{length} of {limit} characters", { length: number(length), limit: number(limit) });
		const tooLong = ngettext("{count} character too many", "{count} characters too many", over);
		const unkept =
			draft.value && !isKept ? gettext("Your browser cannot keep this text: send it before you leave.") : "";
		const note = over > 0 ? tooLong : refusal || (length >= limit * NEAR ? rest : delay || unkept);
		setText($("composer-note"), note);
		announce(note, "composer"); // not by the note itself, which changes with each key
		$("composer-note").classList.toggle("is-over", over > 0);
		draft.setAttribute("aria-invalid", String(over > 0));
		$("send").disabled = over > 0 || !draft.value.trim();
		if (!growsAlone) {
			draft.style.height = "auto";
			draft.style.height = `${draft.scrollHeight + 2}px`;
		}
	}

	function submit() {
		const text = draft.value;
		if ($("send").disabled) return;
		send(text);
		set("");
		if (key) keepDraft(key, without(readDraft(key), text));
		draft.focus();
	}

	function keep(text) {
		isKept = key !== null && keepDraft(key, text);
		changed();
	}

	/** Say that a file cannot be sent. A browser would open one that is dropped in place of the page. */
	function refuseFiles(event) {
		const { types } = event.clipboardData ?? event.dataTransfer;
		if (!types.includes("Files") || types.includes("text/plain")) return;
		event.preventDefault();
		if (event.type === "dragover") return;
		refusal = gettext("Only text can be sent here, no files.");
		changed();
	}

	function set(text) {
		refusal = "";
		isFollowing = true;
		draft.value = text;
		changed();
	}

	$("composer").addEventListener("submit", (event) => {
		event.preventDefault();
		submit();
	});
	draft.addEventListener("input", () => {
		refusal = "";
		isFollowing = false;
		keep(draft.value);
		typing(Boolean(draft.value.trim()));
	});
	for (const type of ["paste", "dragover", "drop"]) document.addEventListener(type, refuseFiles);
	draft.addEventListener("blur", () => typing(false));
	draft.addEventListener("keydown", (event) => {
		// Safari ends a composition before the Enter that chose the word: only the code 229 tells.
		const isComposing = event.isComposing || event.keyCode === 229;
		if (event.key !== "Enter" || event.shiftKey || isComposing || touch.matches) return;
		event.preventDefault();
		submit();
	});
	// Who writes or pastes with the focus elsewhere, e.g. after a click into the messages, means this field.
	document.addEventListener("keydown", ({ key, code, ctrlKey, metaKey, altKey, target }) => {
		const isText = [...key].length === 1 && key !== " " && !altKey;
		if (!isText || ((ctrlKey || metaKey) && code !== "KeyV")) return;
		if (draft.offsetParent && !target.closest("input, textarea, dialog, .menu")) draft.focus();
	});
	$("send").addEventListener("pointerdown", (event) => event.preventDefault()); // keeps the focus, and with it the keyboard

	window.addEventListener("storage", ({ key: changedKey, oldValue, newValue }) => {
		if (!key || changedKey !== key) return;
		const goesOn = draft.value === oldValue && newValue?.startsWith(oldValue); // with what was written here
		if (isFollowing || goesOn) set(newValue ?? "");
	});
	window.addEventListener("pagehide", () => {
		if (key) keepDraft(key, merged(readDraft(key), draft.value));
	});

	return {
		/** Empty the field for another conversation; `open` brings its draft. */
		clear() {
			key = null;
			set("");
		},
		/**
		 * Restore the saved draft; what the user has written meanwhile stays below it. What was kept while the conversation
		 * was not known moves to its own place.
		 */
		open(newKey) {
			if (key === newKey) return;
			const before = key;
			key = newKey;
			const texts = [readDraft(key), draft.value].filter(Boolean);
			if (draft.value !== texts[0]) set(texts.join("\n"));
			if (draft.value) keep(draft.value);
			if (before?.endsWith(":0") && isKept) keepDraft(before, "");
		},
		/** Show why sending waits. */
		tell(text) {
			delay = text;
			changed();
		},
		/** On a touch screen, the field would bring up the keyboard: then focus the heading. */
		focus: () => (touch.matches ? $("with") : draft).focus(),
	};
}
