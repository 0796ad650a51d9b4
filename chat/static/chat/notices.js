/**
 * Tells of unread messages: their number in the title and in the icon; while the page is in the background, new ones
 * also by a sound and by a notification of the system, if the user switched these on.
 */

import { $, isLooking, onReturn, storage, tell } from "./elements.js";
import { gettext, number } from "./texts.js";

const SETTLE = 1_000; // milliseconds: a message that is read meanwhile, in another tab, is not news
const EXCERPT = 160; // characters
const CHOICES = ["sound", "notify", "hide"];
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

/** Few people switch notifications on. */
const loadSwitch = () => import("./notice-switch.js");

const failure = () => gettext("That did not work. Try again.");

export function createNotices(api) {
	let worker = null; // a promise of the service worker, once notifications are on
	let pushing = null; // a promise that ends when this browser takes pushes, or cannot
	let key = null; // of the user's choices in the storage: of this browser, and without any text, so they stay
	let newest = null; // the id of the newest unread message that was shown
	let timer = null;

	const isOn = (choice) => $(`notice-${choice}`).checked;
	const save = () => storage.set(key, CHOICES.filter(isOn).join(" "));

	/** Show notifications from now on, if that is possible, and say what is not. */
	async function begin(permission) {
		const known = worker;
		const prepared = loadSwitch()
			.then(async ({ prepare }) => prepare(permission, await known))
			.catch(() => ({ registration: null, hint: failure() }));
		worker = prepared.then(({ registration }) => registration);
		const { registration, hint } = await prepared;
		$("notice-notify").checked = Boolean(registration);
		$("notice-hide").disabled = !registration;
		tell($("notice-hint"), hint);
		if (registration) pushing = startPushing(registration);
	}

	async function startPushing(registration) {
		const { takePushes } = await loadSwitch();
		tell($("notice-hint"), await takePushes(api, registration));
	}

	async function end() {
		save(); // the rest may take its time
		try {
			await pushing;
			const registration = await worker;
			if (registration) await (await loadSwitch()).endAllPushes(api, registration);
			tell($("notice-hint"), "");
		} catch {
			$("notice-notify").checked = true;
			tell($("notice-hint"), failure());
		}
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
			// Asked at once: browsers ask only while they remember the click.
			if (choice === "notify") await (isOn(choice) ? begin(await globalThis.Notification?.requestPermission()) : end());
			$("notice-hide").disabled = !isOn("notify");
			save();
		});
	$("notice-email").addEventListener("change", saveEmail);
	navigator.serviceWorker?.addEventListener("message", ({ data }) => {
		location.hash = data;
	});
	onReturn(async () => {
		const shown = isLooking() ? await (await worker)?.getNotifications() : [];
		for (const notification of shown ?? []) notification.close();
	});

	async function notify({ name, text, hash }) {
		const body = isOn("hide") ? gettext("New message") : text.slice(0, EXCERPT);
		const options = { body, tag: hash || "message", renotify: true, icon: plainIcon, data: hash };
		await (await worker)?.showNotification(name, options);
	}

	function tellOf(news) {
		if (isLooking() || news.id !== newest) return;
		if (isOn("notify") && globalThis.Notification?.permission === "granted") notify(news).catch(() => {});
		if (isOn("sound")) play();
	}

	return {
		open(user) {
			key = `notices:${user.id}`;
			const chosen = storage.get(key).split(" ");
			for (const choice of CHOICES) $(`notice-${choice}`).checked = chosen.includes(choice);
			tell($("notice-hint"), "");
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
