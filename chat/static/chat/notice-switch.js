/** Switches notifications of the system on and off in this browser, and says in words what does not work. */

import { endPushes, startPushes } from "./push.js";
import { gettext } from "./texts.js";

const APPLE = /iPhone|iPad|Macintosh/; // iPads call themselves so, too

/** Why the browser does not allow notifications; an empty text if it does. */
function whyNot(permission) {
	if (permission === "granted") return "";
	if (permission === "default")
		return gettext(
			"The browser has no permission for notifications. Switch them on again, and allow them when it asks.",
		);
	if (permission)
		return gettext("The browser does not allow it. You can allow it in the browser's settings for this page.");
	return APPLE.test(navigator.userAgent)
		? gettext("First add this page to the Home Screen, by Share, and open it from there.")
		: gettext("This browser cannot show notifications.");
}

const text = gettext("Unread messages: {count}", { count: "{count}" }); // of pushes: the worker has no translations
const url = `${document.body.dataset.worker}?${encodeURIComponent(text)}`;
const policy = globalThis.trustedTypes?.createPolicy("notices", { createScriptURL: () => url }); // it can be made once

/** The service worker that shows notifications: on Android the page itself cannot. Null where there is none. */
async function registered() {
	try {
		return await navigator.serviceWorker.register(policy ? policy.createScriptURL("") : url);
	} catch {
		return null;
	}
}

const hasPushes = (registration) => "hasPushes" in document.body.dataset && registration.pushManager;

/**
 * `permission` is the browser's answer, `known` a service worker from before. Returns `{registration, hint}`: the
 * service worker, or null if no notifications can be shown, and why not.
 */
export async function prepare(permission, known) {
	const hint = whyNot(permission);
	if (hint) return { registration: null, hint };
	const registration = known ?? (await registered());
	if (registration) return { registration, hint };
	return {
		registration,
		hint: gettext("The browser could not prepare notifications. Reload this page and try again."),
	};
}

/** Have this browser take pushes. Returns what the user should know if it does not; otherwise an empty text. */
export async function takePushes(api, registration) {
	const onlyOpen = () => gettext("Notifications come only while this page is open.");
	if (!hasPushes(registration)) return onlyOpen();
	try {
		await startPushes(api, registration);
		return "";
	} catch ({ status }) {
		if (status === 404) return onlyOpen();
		if (status === undefined)
			return gettext(
				"Notifications come only while this page is open: the browser cannot reach its push service. To try again, switch them off and on.",
			);
		return gettext(
			"Notifications come only while this page is open: the server did not answer as expected. To try again, switch them off and on.",
		);
	}
}

/** Rejects if this browser may go on taking pushes. */
export async function endAllPushes(api, registration) {
	if (hasPushes(registration)) await endPushes(api, registration);
}
