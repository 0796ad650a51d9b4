/** The place in a list of messages that the reader looks at: the lowest message that is visible. */

/** The last element that begins above this height; elements follow each other from top to bottom. */
export function lowest(elements, height) {
	let [low, high] = [0, elements.length];
	while (low < high) {
		const middle = (low + high) >> 1;
		if (elements[middle].getBoundingClientRect().top < height) low = middle + 1;
		else high = middle;
	}
	return elements[Math.max(0, low - 1)];
}

const edgeOf = (scroller) => scroller.getBoundingClientRect().bottom;

/**
 * Remembers the place relative to the lower edge, where a keyboard or the composer comes up. `part` returns what is
 * looked at in an element of the list.
 */
export function createScrollPlace(scroller, list, part) {
	let element = null;
	let share; // how much of its height is above the edge, if the edge goes through it
	let gap; // px between it and the edge

	return {
		keep() {
			const edge = edgeOf(scroller);
			element = lowest(list.children, edge) ?? null;
			if (!element) return;
			const { top, height } = part(element).getBoundingClientRect();
			share = Math.min(1, (edge - top) / (height || 1));
			gap = edge - top - share * height;
		},
		/** Scroll back to it. Returns false if it is not in the list any more. */
		restore() {
			if (!element?.isConnected) return false;
			const { top, height } = part(element).getBoundingClientRect();
			const moved = top + share * height + gap - edgeOf(scroller);
			if (Math.abs(moved) >= 1) scroller.scrollTop += moved;
			return true;
		},
	};
}
