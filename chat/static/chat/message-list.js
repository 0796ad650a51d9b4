/** The messages of a conversation, oldest first, and where the reader is in them. */

import { $, nameOf, setText, tell } from "./elements.js";
import { createMessageView } from "./message-view.js";
import { gettext, ngettext } from "./texts.js";

const AT_END = 48; // px: so close to the end, new messages pull the list along
const SHOWN = 200; // messages that stay on the page while its reader is at the end
const ANNOUNCED = 200; // characters of a message that are read out

const isUnread = ({ state, is_read }) => state === "received" && !is_read;

/**
 * `seen` is called with the id of each message that came into view, `needOlder` when the first of them is near, `again`
 * where the same messages are to be shown once more.
 */
export function createMessageList({ seen, needOlder, again, retry, discard }) {
	const scroller = $("scroller");
	const list = $("messages");
	const views = new Map(); // by the message's key
	const viewOf = new WeakMap(); // by its element
	const actions = { retry, discard };
	let snapshot = null;
	let from = 0; // the id of the first message on the page; 0: all that there are
	let firstNew = null; // the key of the message under the divider
	let newest = 0; // the id of the newest message that was shown
	let isAtEnd = true;
	let isPlaced = false; // whether the reader has been put somewhere

	const visible = new IntersectionObserver(
		(entries) => {
			for (const { isIntersecting, target } of entries) if (isIntersecting) seen(viewOf.get(target).message.id);
		},
		{ root: scroller, rootMargin: "-8px" },
	);
	const beginning = new IntersectionObserver(([{ isIntersecting }]) => isIntersecting && isPlaced && more(), {
		root: scroller,
		rootMargin: "800px 0px 0px",
	});
	// A keyboard on the screen, a typing mark, a longer draft: whoever is at the end stays there.
	const size = new ResizeObserver(() => isAtEnd && toEnd());
	size.observe(scroller);
	size.observe(list);
	scroller.addEventListener("scroll", () => {
		isAtEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < AT_END;
		showWay();
	});
	$("to-end").addEventListener("click", () => {
		toEnd();
		scroller.focus({ preventScroll: true });
	});

	function clear() {
		visible.disconnect();
		views.clear();
		list.replaceChildren();
		firstNew = null;
		from = newest = 0;
		isPlaced = false;
		isAtEnd = true;
		showWay();
		setText($("news"), "");
	}

	/** Returns whether there is more than is on the page. */
	function show(next) {
		snapshot = next;
		const { messages, isLoaded, hasOlder } = snapshot;
		const last = messages.at(-1);
		if (isPlaced && last?.state === "sending" && !views.has(last.key)) isAtEnd = true; // just written
		if (isAtEnd && messages.length - indexOf(from) > 2 * SHOWN) from = messages.at(-SHOWN).id ?? from;
		divide(messages);
		const anchor = anchorOf(list.firstElementChild);
		place(messages.slice(indexOf(from)));
		if (!isPlaced && isLoaded) settle();
		else if (isAtEnd) toEnd();
		else anchor();
		announce(messages);
		showWay();
		// Observed anew, it tells at once whether there is room for more.
		beginning.disconnect();
		if (hasOlder || from) beginning.observe($("beginning"));
		return hasOlder || from > 0;
	}

	const indexOf = (id) => (id ? snapshot.messages.findIndex((message) => message.id >= id) : 0);

	/** Put more above what is on the page: what is known already, or what the server has. */
	function more() {
		if (!from) return needOlder();
		const index = indexOf(from) - SHOWN;
		from = index > 0 ? snapshot.messages[index].id : 0;
		again();
	}

	/** The divider stands before the first message that came while the reader was not there for it. */
	function divide(messages) {
		const unread = messages.filter(isUnread);
		const came = unread.find(({ id }) => id > newest);
		if (messages.at(-1)?.state === "sending") firstNew = null;
		else if (came && came === unread[0] && !(isPlaced && isThere())) firstNew = came.key;
	}

	const isThere = () => isAtEnd && document.visibilityState === "visible";

	/** Bring the elements in line with the messages. */
	function place(messages) {
		let before = null;
		let next = list.firstElementChild;
		const gone = new Set(views.keys());
		for (const message of messages) {
			gone.delete(message.key);
			const known = views.get(message.key);
			const view = known ?? added(message.key);
			const isFirstNew = message.key === firstNew;
			if (view.message !== message || view.before !== before || view.isFirstNew !== isFirstNew)
				view.update(message, before, isFirstNew);
			Object.assign(view, { before, isFirstNew });
			if (view.element === next) next = next.nextElementSibling;
			else list.insertBefore(view.element, next);
			if (!known && isUnread(message)) visible.observe(view.element);
			if (!isUnread(message)) visible.unobserve(view.element);
			before = view;
		}
		for (const key of gone) removed(key);
	}

	function added(key) {
		const view = createMessageView(actions);
		views.set(key, view);
		viewOf.set(view.element, view);
		return view;
	}

	function removed(key) {
		const { element } = views.get(key);
		visible.unobserve(element);
		if (element.contains(document.activeElement)) $("draft").focus();
		element.remove();
		views.delete(key);
	}

	/** What keeps this message where it is on the screen, whatever is put above it. */
	function anchorOf(element) {
		if (!element) return () => {};
		const { bubble } = viewOf.get(element);
		const top = () => bubble.getBoundingClientRect().top;
		const before = top();
		return () => {
			const moved = top() - before;
			if (moved) scroller.scrollTop += moved;
		};
	}

	/** Where reading begins: at what is new, or at the end. */
	function settle() {
		isPlaced = true;
		const view = views.get(firstNew);
		toEnd();
		if (!view) return;
		const above = view.element.getBoundingClientRect().top - scroller.getBoundingClientRect().top;
		if (above < 0) {
			isAtEnd = false;
			scroller.scrollTop += above - AT_END;
		}
	}

	function toEnd() {
		isAtEnd = true;
		scroller.scrollTop = scroller.scrollHeight;
	}

	/** Read out what has come since the last time; what was there from the start is no news. */
	function announce(messages) {
		const news = messages.filter((message) => newest && message.id > newest && isUnread(message));
		newest = Math.max(newest, messages.findLast(({ id }) => id)?.id ?? 0);
		const said = news.map(({ sender_profile, content }) => `${nameOf(sender_profile)}: ${content.slice(0, ANNOUNCED)}`);
		if (said.length) setText($("news"), said.join("\n"));
	}

	/** The button that leads to the end, and how much is new there. */
	function showWay() {
		const unread = [...views.values()].filter(({ message }) => isUnread(message)).length;
		const text = unread ? ngettext("{count} new message", "{count} new messages", unread) : "";
		$("to-end").hidden = isAtEnd;
		$("to-end").ariaLabel = text || gettext("To the newest message");
		tell($("to-end").firstElementChild, text);
	}

	/** Days have new names after midnight. */
	function tick() {
		for (const view of views.values()) view.updateDay();
	}

	return { show, clear, tick };
}
