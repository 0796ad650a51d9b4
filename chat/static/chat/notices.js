/**
 * Tells of unread messages: their number in the title and in the icon; while the page is in the background, new ones
 * also by a sound and by a notification of the system, if the user switched these on.
 */

import { $, storage, tell } from "./elements.js";
import { gettext, number } from "./texts.js";

const SETTLE = 1_000; // milliseconds: a message that is read meanwhile, in another tab, is not news
const EXCERPT = 160; // characters
const CHOICES = ["sound", "notify", "hide"];
const APPLE = /iPhone|iPad|Macintosh/; // iPads call themselves so, too
const title = document.title;
const icon = document.querySelector("link[rel=icon]");
const plainIcon = icon.href;

const countIcon = (count) =>
	`data:image/svg+xml,${encodeURIComponent(
		`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="9" fill="#b3261e"/><text x="16" y="24" font-family="sans-serif" font-size="${count < 100 ? 22 : 15}" font-weight="700" text-anchor="middle" fill="#fff">${count < 100 ? number(count) : `${number(99)}+`}</text></svg>`,
	)}`;

let audio = null; // one for all tones: browsers limit them
let tone = null;

/** A short tone. Until the user has touched the page, browsers hold it back: only the last one is played then. */
function play() {
	audio ??= new AudioContext();
	audio.resume().catch(() => {});
	tone?.disconnect();
	tone = audio.createOscillator();
	const volume = audio.createGain();
	tone.frequency.value = 660; // Hz
	volume.gain.setValueAtTime(0.15, audio.currentTime);
	volume.gain.exponentialRampToValueAtTime(0.001, audio.currentTime + 0.4);
	tone.connect(volume).connect(audio.destination);
	tone.start();
	tone.stop(audio.currentTime + 0.4);
}

const hasPushes = (registration) => "hasPushes" in document.body.dataset && registration?.pushManager;

/** The service worker that shows notifications: on Android the page itself cannot. Null where there is none. */
async function registered() {
	const text = gettext("Unread messages: {count}", { count: "{count}" }); // of pushes: the worker has no translations
	const url = `${document.body.dataset.worker}?${encodeURIComponent(text)}`;
	const policy = globalThis.trustedTypes?.createPolicy("notices", { createScriptURL: () => url });
	return navigator.serviceWorker?.register(policy ? policy.createScriptURL("") : url);
}

export function createNotices(api) {
	let worker = null;
	let key = null; // of the user's choices in the storage: of this browser, and without any text, so they stay
	let newest = null; // the id of the newest unread message that was shown
	let timer = null;

	const isOn = (choice) => $(`notice-${choice}`).checked;
	const save = () => storage.set(key, CHOICES.filter(isOn).join(" "));

	/** Begin if the browser allows it, otherwise say why not. */
	async function begin(answer) {
		if (answer === "granted") return prepare();
		$("notice-notify").checked = false;
		let why = gettext("The browser does not allow it. You can allow it in the browser's settings for this page.");
		if (!answer && APPLE.test(navigator.userAgent))
			why = gettext("First add this page to the Home Screen, by Share, and open it from there.");
		else if (!answer) why = gettext("This browser cannot show notifications.");
		tell($("notice-hint"), why);
	}

	async function prepare() {
		tell($("notice-hint"), "");
		worker ??= registered().catch(() => null);
		const registration = await worker;
		// Where the server or the browser has no pushes, the page tells of messages while it is open.
		if (hasPushes(registration)) await pushes("startPushes", registration);
	}

	/** Loaded when it is needed: most people never switch notifications on. */
	async function pushes(verb, registration) {
		try {
			await (await import("./push.js"))[verb](api, registration);
		} catch {} // the page tells while it is open
	}

	async function stopPushes() {
		const registration = await worker;
		if (hasPushes(registration)) await pushes("endPushes", registration);
	}

	async function saveEmail() {
		const isWanted = $("notice-email").checked;
		tell($("notice-hint"), "");
		try {
			await api.send("PATCH", "auth/me/", { notify_email: isWanted });
		} catch {
			$("notice-email").checked = !isWanted;
			tell($("notice-hint"), gettext("That was not saved. Try again."));
		}
	}

	for (const choice of CHOICES)
		$(`notice-${choice}`).addEventListener("change", async () => {
			if (choice === "sound" && isOn(choice)) play(); // also lets the browser play it later
			if (choice === "notify")
				await (isOn(choice) ? begin(await globalThis.Notification?.requestPermission()) : stopPushes());
			$("notice-hide").disabled = !isOn("notify");
			save();
		});
	$("notice-email").addEventListener("change", saveEmail);
	navigator.serviceWorker?.addEventListener("message", ({ data }) => {
		location.hash = data;
	});
	document.addEventListener("visibilitychange", async () => {
		const shown = document.hidden ? [] : await (await worker)?.getNotifications();
		for (const notification of shown ?? []) notification.close();
	});

	async function notify({ name, text, hash }) {
		const body = isOn("hide") ? gettext("New message") : text.slice(0, EXCERPT);
		const options = { body, tag: hash || "message", renotify: true, icon: plainIcon, data: hash };
		const registration = await worker;
		if (registration) await registration.showNotification(name, options);
		else new Notification(name, options);
	}

	function tellOf(news) {
		if (!document.hidden || news.id !== newest) return;
		if (isOn("notify") && globalThis.Notification?.permission === "granted") notify(news).catch(() => {});
		if (isOn("sound")) play();
	}

	return {
		open(user) {
			key = `notices:${user.id}`;
			const chosen = storage.get(key).split(" ");
			for (const choice of CHOICES) $(`notice-${choice}`).checked = chosen.includes(choice);
			if (isOn("notify")) begin(globalThis.Notification?.permission); // which the user may have taken back
			$("notice-hide").disabled = !isOn("notify");
			$("notice-email").checked = user.notify_email;
			$("notice-email").closest("p").hidden = !user.profile;
		},
		/** `news` is the newest unread message: `{id, name, text, hash}`, or null. */
		show(count, news) {
			const before = newest;
			document.title = count ? `(${number(count)}) ${title}` : title;
			icon.href = count ? countIcon(count) : plainIcon;
			navigator.setAppBadge?.(count).catch(() => {});
			newest = news?.id ?? 0;
			if (before === null || newest <= before) return; // before === null: this is what was there at the beginning
			clearTimeout(timer);
			timer = setTimeout(tellOf, SETTLE, news);
		},
		close() {
			clearTimeout(timer);
			this.show(0, null);
			newest = null;
		},
	};
}
