/** The few things that every part of the page does with its elements. Text becomes text: nothing is read as HTML. */

import { gettext } from "./texts.js";

export const $ = (id) => document.getElementById(id);

/** A copy of what is inside a template. */
export const copyOf = (id) => $(id).content.firstElementChild.cloneNode(true);

/** Change a text only where it differs, so that nothing is read out twice and nothing is laid out again. */
export function setText(element, text) {
	if (element.textContent !== text) element.textContent = text;
}

/** Show this text in an element that is there for nothing else. */
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

/** How far one's own message has come, as a mark and in words; nothing for another's. */
export function setMark(element, state) {
	const mark = element.querySelector(".mark");
	const words = STATES[state];
	mark.toggleAttribute("hidden", !words);
	mark.dataset.state = state;
	if (words) mark.firstElementChild.setAttribute("href", `#icon-${state}`);
	setText(element.querySelector(".state"), words ? words() : "");
}

export const nameOf = (person) => person.full_name || person.username;

export function setAvatar(element, person) {
	setText(element, [...nameOf(person)][0]);
	element.dataset.hue = person.user_id % 6;
}

/** `localStorage`, as far as there is one. */
export const storage = {
	get(key) {
		try {
			return localStorage.getItem(key) ?? "";
		} catch {
			return "";
		}
	},
	set(key, text) {
		try {
			if (text) localStorage.setItem(key, text);
			else localStorage.removeItem(key);
		} catch {
			// full, or forbidden: then it lives as long as the page
		}
	},
};
