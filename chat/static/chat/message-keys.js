/** The messages' buttons are one stop of the Tab key, at the newest message; the arrow keys go from one to the next. */

import { walk } from "./elements.js";

export function createMessageKeys(list) {
	let stop = null;

	function moveTo(button) {
		if (stop) stop.tabIndex = -1;
		stop = button;
		if (stop) stop.tabIndex = 0;
	}

	const buttonOf = (element) => element.querySelector(".report");

	function newest() {
		let element = list.lastElementChild;
		while (element?.classList.contains("is-own")) element = element.previousElementSibling;
		return element && buttonOf(element);
	}

	list.addEventListener("focusin", ({ target }) => target.matches(".report") && moveTo(target));
	list.addEventListener("keydown", (event) => {
		if (event.target === stop) walk(event, [...list.querySelectorAll(".message:not(.is-own)")].map(buttonOf));
	});

	return {
		/** Call it when the list has changed. */
		update() {
			if (!stop || stop !== document.activeElement) moveTo(newest());
		},
	};
}
