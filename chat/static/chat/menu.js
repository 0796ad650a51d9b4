/** The menu of the user who is signed in. Not a popover: the oldest browsers that the page supports have none. */

import { $ } from "./elements.js";

const openers = [...document.querySelectorAll(".menu-opener")];

/** Calls `closed` whenever it is closed. */
export function createMenu(closed) {
	const menu = $("menu");
	let opener = null;

	function open(button) {
		opener = button;
		menu.hidden = false;
		for (const one of openers) one.setAttribute("aria-expanded", "true");
		menu.querySelector("button").focus();
	}

	function close() {
		if (menu.hidden) return;
		const hadFocus = menu.contains(document.activeElement);
		menu.hidden = true;
		for (const one of openers) one.setAttribute("aria-expanded", "false");
		if (hadFocus) opener.focus();
		closed();
	}

	for (const button of openers) button.addEventListener("click", () => (menu.hidden ? open(button) : close()));
	document.addEventListener("pointerdown", ({ target }) => {
		if (!menu.contains(target) && !target.closest(".menu-opener")) close();
	});
	document.addEventListener("keydown", ({ key }) => key === "Escape" && close());
	menu.addEventListener("focusout", ({ relatedTarget }) => {
		if (relatedTarget && !menu.contains(relatedTarget) && !openers.includes(relatedTarget)) close();
	});
	return { close };
}
