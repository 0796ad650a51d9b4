/** One message as an element of the list. */

import { copyOf, nameOf, setMark, setText, tell } from "./elements.js";
import { withLinks } from "./links.js";
import { dayOf, gettext, timeOf } from "./texts.js";

const TOGETHER = 5 * 60_000; // messages of one participant within this time are shown together
const FAILURES = {
	empty_message: () => gettext("Not sent: there is no text in it."),
	message_too_long: () => gettext("Not sent: it is too long."),
	invalid_characters: () => gettext("Not sent: it contains characters that cannot be sent."),
	conversation_closed: () => gettext("Not sent: the conversation is closed."),
};

/** Calls `retry` and `discard` with the client id of a failed message. */
export function createMessageView({ retry, discard }) {
	const element = copyOf("message-template");
	const part = (name) => element.querySelector(`.${name}`);
	const [day, divider, bubble, failure] = element.children;
	const view = { element, bubble, message: null, date: null, update, updateDay };
	let isFirstOfDay = false;

	part("retry").addEventListener("click", () => retry(view.message.clientId));
	part("discard").addEventListener("click", () => discard(view.message.clientId));

	/** Show this message; `before` is the view of the previous one. */
	function update(message, before, isFirstNew) {
		const isNew = message.content !== view.message?.content;
		const isElsewhen = message.timestamp !== view.message?.timestamp;
		view.message = message;
		if (isNew) part("text").replaceChildren(...withLinks(message.content));
		if (isElsewhen) setTime(new Date(message.timestamp));
		isFirstOfDay = before?.date.toDateString() !== view.date.toDateString();
		updateDay();
		divider.hidden = !isFirstNew;
		element.className = message.is_own_message ? "message is-own" : "message";
		element.classList.toggle("is-together", !isFirstOfDay && !isFirstNew && standsTogether(before));
		setMark(bubble, message.state);
		setText(part("author"), message.is_own_message ? gettext("You:") : `${nameOf(message.sender_profile)}:`);
		failure.hidden = message.state !== "failed";
		if (message.state === "failed") setText(part("why"), FAILURES[message.error]?.() ?? gettext("Not sent"));
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
