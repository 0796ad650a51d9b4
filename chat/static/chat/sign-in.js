/** Who is signed in; the sign-in form, and in development the demo accounts beside it. */

import { createConnection } from "./connection.js";
import { $, setText } from "./elements.js";
import { gettext, timeOf } from "./texts.js";

// Milliseconds.
const FIRST_WAIT = 500;
const LONGEST_WAIT = 30_000;
const PATIENCE = 1_500; // for an answer, then the page says that there is none

/**
 * Ask the server who is signed in, until it answers; null if nobody is. While it does not, `away` is called, and the page
 * says that there is no connection.
 */
export async function whoIsSignedIn(api, away) {
	let retry;
	const connection = createConnection($("start-connection"), () => retry());
	for (let wait = FIRST_WAIT; ; wait = Math.min(2 * wait, LONGEST_WAIT)) {
		const slow = setTimeout(() => {
			away();
			connection.show({ status: "connecting", reason: "unavailable", retryAt: null, isLoaded: false });
		}, PATIENCE);
		const [user, error] = await api.me().then(
			(found) => [found, null],
			(failure) => [null, failure],
		);
		clearTimeout(slow);
		if (user || error.status === 401) {
			connection.show({ status: "open" });
			return user;
		}
		const delay = Math.max(wait * Math.random(), error.retryAfter * 1000);
		const reason = navigator.onLine ? "unavailable" : "offline";
		away();
		connection.show({ status: "waiting", reason, retryAt: Date.now() + delay });
		await new Promise((resolve) => {
			retry = resolve;
			setTimeout(resolve, delay);
			window.addEventListener("online", resolve, { once: true });
		});
		connection.show({ status: "connecting", reason, retryAt: null, isLoaded: true });
	}
}

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
		form.setAttribute("aria-busy", "true");
		try {
			const user = await api.login(username, password);
			form.reset();
			showPassword(false);
			tell("");
			signedIn(user);
		} catch (error) {
			tell(reasonOf(error));
			if (error.status === 400) fields[1].select();
		} finally {
			isBusy = false;
			form.setAttribute("aria-busy", "false");
		}
	}

	function tell(error) {
		setText($("sign-in-error"), error);
		if (error) $("sign-in-error").scrollIntoView({ block: "nearest" }); // a keyboard may cover it
		for (const field of fields) field.setAttribute("aria-invalid", String(Boolean(error)));
	}

	function showPassword(isShown) {
		fields[1].type = isShown ? "text" : "password";
		$("show-password").setAttribute("aria-pressed", String(isShown));
	}

	$("show-password").addEventListener("click", () => showPassword(fields[1].type === "password"));
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
			showPassword(false);
			fields[0].focus();
		},
		hide() {
			$("sign-in").hidden = true;
		},
	};
}
