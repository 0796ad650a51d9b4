/** The sign-in form, and in development the demo accounts beside it. */

import { $, setText } from "./elements.js";
import { gettext, timeOf } from "./texts.js";

/** An `ApiError` in words, for a user who signs in. */
function reasonOf({ status, retryAfter }) {
	if (status === 400) return gettext("Wrong user name or password.");
	if (status === 429) {
		const time = timeOf(new Date(Date.now() + (retryAfter ?? 60) * 1000));
		return gettext("Too many failed tries. Try again at {time}.", { time });
	}
	if (status === 0) return gettext("The server cannot be reached. Try again in a moment.");
	return gettext("The server could not do that ({status}). Try again in a moment.", { status });
}

/** Calls `signedIn` with the user who signed in. */
export function createSignIn(api, signedIn) {
	const form = $("sign-in-form");
	const fields = [$("username"), $("password")];
	let isBusy = false;

	async function signIn(username, password) {
		if (isBusy) return;
		isBusy = true;
		form.ariaBusy = "true";
		try {
			const user = await api.login(username, password);
			form.reset();
			tell("");
			signedIn(user);
		} catch (error) {
			tell(reasonOf(error));
			if (error.status === 400) fields[1].select();
		} finally {
			isBusy = false;
			form.ariaBusy = "false";
		}
	}

	function tell(error) {
		setText($("sign-in-error"), error);
		for (const field of fields) field.ariaInvalid = String(Boolean(error));
	}

	form.addEventListener("submit", (event) => {
		event.preventDefault();
		const missing = fields.find((field) => !field.value);
		if (!missing) return signIn(...fields.map((field) => field.value));
		tell(gettext("User name and password are both needed."));
		missing.focus();
	});
	for (const button of document.querySelectorAll(".demo-account"))
		button.addEventListener("click", () => signIn(button.dataset.username, $("demo-password").textContent));

	return {
		/** Show the form, with a notice that says why. */
		show(notice = "") {
			$("sign-in").hidden = false;
			setText($("sign-in-notice"), notice);
			tell("");
			fields[0].focus();
		},
		hide() {
			$("sign-in").hidden = true;
		},
		tell: (error) => tell(reasonOf(error)),
	};
}
