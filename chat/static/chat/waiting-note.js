/** Above a mentor's composer: since when the student has waited, and the button that says that no reply is needed. */

import { $, setText } from "./elements.js";
import { durationSince, gettext } from "./texts.js";

/** Calls `finish` with the id of the conversation; it must return a promise. Calls `finished` when that is done. */
export function createWaitingNote(finish, finished) {
	let conversation = null;
	let failedId = null; // of the conversation in which it did not work
	let isBusy = false;

	$("done").addEventListener("click", async () => {
		if (isBusy) return;
		const { id } = conversation;
		isBusy = true;
		failedId = null;
		show(conversation);
		try {
			await finish(id);
			finished();
		} catch {
			failedId = id;
		} finally {
			isBusy = false;
			show(conversation);
		}
	});

	/** Show this for a conversation; for none, or if nobody waits in it, show nothing. */
	function show(shown) {
		conversation = shown ?? null;
		const since = conversation?.waiting_since;
		$("waiting").hidden = !since;
		if (!since) return;
		const duration = durationSince(Date.parse(since));
		const hasFailed = failedId === conversation.id;
		setText($("waiting-text"), gettext("Waiting: {duration}", { duration }));
		setText($("waiting-error"), hasFailed ? gettext("That did not work. Try again.") : "");
		$("done").setAttribute("aria-disabled", String(isBusy));
	}

	return { show };
}
