/** What all parts of the page do with elements. Texts are only set as text, never as HTML. */

import { gettext } from "./texts.js";

export const $ = (id) => document.getElementById(id);

/** A copy of the element in a template. */
export const copyOf = (id) => $(id).content.firstElementChild.cloneNode(true);

const texts = new WeakMap(); // element -> the text that was set, which the browser may have translated since

/** Change a text only if it differs: screen readers would repeat it, and the browser would lay it out again. */
export function setText(element, text) {
	if (texts.get(element) === text) return;
	texts.set(element, text);
	element.textContent = text;
}

/** Show this text in an element; hide the element if the text is empty. */
export function tell(element, text) {
	setText(element, text);
	element.hidden = !text;
}

const STATES = {
	sending: () => gettext("Being sent"),
	failed: () => gettext("Not sent"),
	sent: () => gettext("Sent"),
	read: () => gettext("Read"),
};

/** Show the state of the user's own message, as a mark and in words; for a received message, neither. */
export function setMark(element, state) {
	const mark = element.querySelector(".mark");
	const words = STATES[state];
	mark.toggleAttribute("hidden", !words);
	mark.dataset.state = state;
	if (words) mark.firstElementChild.setAttribute("href", `#icon-${state}`);
	setText(element.querySelector(".state"), words ? words() : "");
}

/** Whether the user looks at the page. A window that is visible beside the one they work in does not count. */
export const isLooking = () => document.visibilityState === "visible" && document.hasFocus();

/** Call this when the user may have come back to the page. */
export function onReturn(listener) {
	document.addEventListener("visibilitychange", listener);
	window.addEventListener("focus", listener);
}

/** Their name; an erased person has none. */
export const nameOf = (person) => person.full_name || person.username || gettext("Erased person");

export const textOf = (message) => (message.is_erased ? gettext("This message was erased.") : message.content);

export function setAvatar(element, person) {
	setText(element, [...nameOf(person)][0]);
	element.dataset.hue = person.user_id % 6;
}

/** Move the focus from one of these elements to another, by the arrow keys, Home and End. */
export function walk(event, elements) {
	const here = elements.indexOf(document.activeElement);
	const there = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: elements.length - 1 }[event.key];
	if (there === undefined) return;
	event.preventDefault();
	elements[there]?.focus();
}

/** `localStorage`, if the browser allows it. */
export const storage = {
	get(key) {
		try {
			return localStorage.getItem(key) ?? "";
		} catch {
			return "";
		}
	},
	/** The keys that begin with this. */
	keys(prefix) {
		try {
			return Object.keys(localStorage).filter((key) => key.startsWith(prefix));
		} catch {
			return [];
		}
	},
	set(key, text) {
		try {
			if (text) localStorage.setItem(key, text);
			else localStorage.removeItem(key);
		} catch {
			// full or forbidden: the text is lost on a reload
		}
	},
};
