/** One message as an element of the list. */

import { announce } from "./announcer.js";
import { copyOf, nameOf, setMark, setText, tell, textOf } from "./elements.js";
import { withLinks } from "./links.js";
import { dayOf, gettext, timeOf } from "./texts.js";

const TOGETHER = 5 * 60_000; // messages of one participant within this time are shown together
const LINES = 40; // a message of more is folded
const LINE = 45; // characters of a line, on a phone

const EMOJI = /^(?:\p{Extended_Pictographic}|\p{Regional_Indicator}|\p{Emoji_Modifier}|\u200d|\ufe0f|\s)+$/u;
const EMOJI_LENGTH = 24; // UTF-16 units; one may take ten
const RTL = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]/;

const isLong = (text) => text.split("\n").reduce((sum, line) => sum + Math.max(1, line.length / LINE), 0) > LINES;
const isEmoji = (text) => text.length <= EMOJI_LENGTH && EMOJI.test(text);

/** Whether the last paragraph is written from right to left: then the time stands at its left. */
const endsRightToLeft = (text) => RTL.test(text.trimEnd().split("\n").pop().match(/\p{L}/u)?.[0]);
const FAILURES = {
	empty_message: () => gettext("Not sent: there is no text in it."),
	message_too_long: () => gettext("Not sent: it is too long."),
	invalid_characters: () => gettext("Not sent: it contains characters that cannot be sent."),
	account_locked: () => gettext("Not sent: your account is locked."),
	conversation_closed: () => gettext("Not sent: the conversation is closed."),
	conversation_locked: () => gettext("Not sent: the conversation is locked."),
};

/** Copy a text; where the browser does not allow it, select it, so that the user can. */
async function copy(text, element) {
	try {
		await navigator.clipboard.writeText(text);
		announce(gettext("Copied"));
	} catch {
		getSelection().selectAllChildren(element);
	}
}

/** Calls `retry` and `discard` with the client id of a failed message, and `edit` and `report` with the message. */
export function createMessageView({ retry, discard, edit, report }) {
	const element = copyOf("message-template");
	const part = (name) => element.querySelector(`.${name}`);
	const [day, divider, bubble, more, failure] = ["day", "divider", "bubble", "more", "failure"].map(part);
	const view = { element, bubble, day, message: null, date: null, update, updateDay };
	let isFirstOfDay = false;

	more.addEventListener("click", () => fold(!bubble.classList.contains("is-folded")));
	part("edit").addEventListener("click", () => edit(view.message));
	part("copy").addEventListener("click", () => copy(view.message.content, part("text")));
	part("report").addEventListener("click", () => report(view.message));
	part("retry").addEventListener("click", () => retry(view.message.clientId));
	part("discard").addEventListener("click", () => discard(view.message.clientId));

	/** Show this message; `before` is the view of the previous one. */
	function update(message, before, isFirstNew) {
		const hasFailed = message.state === "failed" && view.message && view.message.state !== "failed";
		const isNew = message.content !== view.message?.content || message.is_erased !== view.message?.is_erased;
		const isElsewhen = message.timestamp !== view.message?.timestamp;
		view.message = message;
		if (isNew) setContent(textOf(message));
		if (isElsewhen) setTime(new Date(message.timestamp));
		isFirstOfDay = before?.date.toDateString() !== view.date.toDateString();
		updateDay();
		divider.hidden = !isFirstNew;
		element.className = message.is_own_message ? "message is-own" : "message";
		element.classList.toggle("is-erased", message.is_erased === true);
		element.classList.toggle("is-together", !isFirstOfDay && !isFirstNew && standsTogether(before));
		setMark(bubble, message.state);
		setText(part("author"), message.is_own_message ? gettext("You:") : `${nameOf(message.sender_profile)}:`);
		failure.hidden = message.state !== "failed";
		if (message.state !== "failed") return;
		const why = FAILURES[message.error]?.() ?? gettext("Not sent");
		setText(part("why"), why);
		if (hasFailed) announce(why);
	}

	function setContent(text) {
		part("text").replaceChildren(...withLinks(text));
		bubble.classList.toggle("is-emoji", isEmoji(text));
		bubble.classList.toggle("ends-rtl", endsRightToLeft(text));
		more.hidden = !isLong(text);
		fold(!more.hidden);
	}

	function fold(isFolded) {
		bubble.classList.toggle("is-folded", isFolded);
		more.setAttribute("aria-expanded", String(!isFolded));
		setText(more, isFolded ? gettext("Show more") : gettext("Show less"));
	}

	function setTime(date) {
		view.date = date;
		const time = bubble.querySelector("time");
		time.dateTime = date.toISOString();
		setText(time, timeOf(date));
	}

	function standsTogether({ message, date }) {
		return message.is_own_message === view.message.is_own_message && view.date - date < TOGETHER;
	}

	/** Also called after midnight, when "Today" becomes "Yesterday". */
	function updateDay() {
		tell(day, isFirstOfDay ? dayOf(view.date) : "");
	}

	return view;
}
