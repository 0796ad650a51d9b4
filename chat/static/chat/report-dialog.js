/** The question whether, and why, a message is to be reported to the school's staff. */

import { $, setText, tell } from "./elements.js";
import { gettext } from "./texts.js";

const EXCERPT = 200; // characters of the message

const FAILURES = {
	429: () => gettext("You have reported many messages today. Try again tomorrow."),
	404: () => gettext("This message does not exist any more."),
};

/** Returns a function that asks about a message; `send` is called with its id and the reason, and may reject. */
export function createReportDialog(send) {
	const dialog = $("report");
	let message = null;

	$("report-cancel").addEventListener("click", () => dialog.close());
	$("report-close").addEventListener("click", () => dialog.close());
	$("report-form").addEventListener("submit", async (event) => {
		event.preventDefault();
		const asked = message;
		$("report-send").disabled = true;
		const failure = await send(asked.id, $("report-reason").value.trim() || null).then(
			() => "",
			({ status }) => FAILURES[status]?.() ?? gettext("The server cannot be reached: nothing was reported."),
		);
		if (asked === message) answered(failure);
	});

	function answered(failure) {
		$("report-send").disabled = false;
		tell($("report-error"), failure);
		if (failure) return;
		$("report-form").hidden = true;
		$("report-done").hidden = false;
		$("report-close").focus();
	}

	return (about) => {
		message = about;
		setText($("report-text"), about.content.slice(0, EXCERPT));
		$("report-reason").value = "";
		$("report-send").disabled = false;
		tell($("report-error"), "");
		$("report-form").hidden = false;
		$("report-done").hidden = true;
		dialog.showModal();
	};
}
