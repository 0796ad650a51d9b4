/** A bar that says that there is no connection, and why. Hidden while there is one. */

import { tell } from "./elements.js";
import { gettext, ngettext, timeOf } from "./texts.js";

const TICK = 1_000;

function textOf({ status, reason, isLoaded }, since) {
	if (status === "connecting" && !isLoaded) return gettext("Connecting…");
	if (status === "connecting") return gettext("Connecting again…");
	const time = timeOf(since);
	if (reason === "offline") return gettext("You are offline since {time}.", { time });
	if (reason === "too_many")
		return gettext("Too many connections since {time}. Close other tabs of this page.", { time });
	return gettext("No connection since {time}.", { time });
}

/** Calls `retry` when the user does not want to wait. */
export function createConnection(element, retry) {
	const [words, retryIn, button] = element.children;
	let snapshot = null;
	let since = null;
	let timer;

	function tick() {
		const seconds = Math.max(0, Math.ceil((snapshot.retryAt - Date.now()) / 1000));
		tell(
			retryIn,
			snapshot.retryAt ? ngettext("Next try in {count} second.", "Next try in {count} seconds.", seconds) : "",
		);
	}

	button.addEventListener("click", retry);

	return {
		show(next) {
			snapshot = next;
			const isGood = next.status === "open" || next.status === "stopped";
			since = isGood ? null : (since ?? new Date());
			element.hidden = isGood;
			clearInterval(timer);
			if (isGood) return tell(words, "");
			tell(words, textOf(next, since));
			button.hidden = next.status !== "waiting";
			tick();
			timer = setInterval(tick, TICK);
		},
	};
}
