/** What a screen reader is told beside what it reads itself: at most one announcement every few seconds. */

import { $ } from "./elements.js";

const PAUSE = 3_000; // milliseconds between two announcements

let waiting = new Map(); // topic -> text
const latest = new Map(); // topic -> its last text
let timer = null;

/** Announce a text after those that wait; one with a topic only if it has changed, and in place of the last of it. */
export function announce(text, topic) {
	if (topic && latest.get(topic) === text) return;
	if (topic) latest.set(topic, text);
	topic ??= Symbol();
	if (text) waiting.set(topic, text);
	else waiting.delete(topic);
	if (!timer && text) flush();
}

/** Forget what waits. */
export function forgetAnnouncements() {
	waiting.clear();
	$("news").replaceChildren();
}

function flush() {
	timer = null;
	if (!waiting.size) return;
	// A new element is read even if its text is the same as that of the last one.
	const news = document.createElement("span");
	news.textContent = [...waiting.values()].join("\n");
	$("news").replaceChildren(news);
	waiting = new Map();
	timer = setTimeout(flush, PAUSE);
}
