/** A bar that says that there is no connection, and why, or that something is not kept. Otherwise hidden. */

import { tell } from "./elements.js";
import { gettext, ngettext, timeOf } from "./texts.js";

const TICK = 1_000;

function textOf({ status, reason, isLoaded }, since) {
	if (status === "open" || status === "stopped") return "";
	if (status === "polling")
		return gettext("There is no live connection, perhaps because of a firewall. Messages come every few seconds.");
	if (status === "connecting" && !isLoaded && !reason) return gettext("Connecting…");
	if (status === "connecting" && isLoaded) return gettext("Connecting again…");
	const time = timeOf(since);
	if (reason === "offline") return gettext("You are offline since {time}.", { time });
	if (reason === "too_many") return gettext("Too many requests since {time}. Close other tabs of this page.", { time });
	return gettext("No connection since {time}.", { time });
}

/** Unsent messages that a reload would lose. */
function lossOf({ isKept }) {
	return isKept === false ? gettext("Your browser cannot keep what is not sent yet. Leave this page open.") : "";
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
			snapshot.retryAt && snapshot.status === "waiting"
				? ngettext("Next try in {count} second.", "Next try in {count} seconds.", seconds)
				: "",
		);
	}

	button.addEventListener("click", retry);

	return {
		/** Show nothing, and stop counting the seconds. */
		hide() {
			this.show({ status: "stopped" });
		},
		show(next) {
			snapshot = next;
			const isLost = next.status === "connecting" || next.status === "waiting";
			since = isLost ? (since ?? new Date()) : null;
			const text = [textOf(next, since), lossOf(next)].filter(Boolean).join(" ");
			element.hidden = !text;
			tell(words, text);
			clearInterval(timer);
			button.hidden = next.status !== "waiting";
			tick();
			if (isLost) timer = setInterval(tick, TICK);
		},
	};
}
