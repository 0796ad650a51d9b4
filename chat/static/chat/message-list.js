/** The list of messages, oldest first, and the scroll position in it. */

import { $, nameOf, setText, tell } from "./elements.js";
import { createMessageView } from "./message-view.js";
import { gettext, ngettext } from "./texts.js";

const AT_END = 48; // px from the end; within it, the list follows new messages
const SHOWN = 200; // messages that stay in the list while it is scrolled to the end
const ANNOUNCED = 200; // characters of a message that a screen reader reads

const isUnread = ({ state, is_read }) => state === "received" && !is_read;

/**
 * Calls `seen` with the id of each message that comes into view, `needOlder` when the first one is near, and `again` when
 * the snapshot must be shown again.
 */
export function createMessageList({ seen, needOlder, again, retry, discard }) {
	const scroller = $("scroller");
	const list = $("messages");
	const views = new Map(); // message key -> view
	const viewOf = new WeakMap(); // element -> view
	const actions = { retry, discard };
	let snapshot = null;
	let from = 0; // the id of the first message in the list; 0: all are in it
	let firstNew = null; // the key of the message below the divider
	let newest = 0; // the id of the newest message that was shown
	let isAtEnd = true;
	let isPlaced = false; // whether the first scroll position is set

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
	// The size changes with the on-screen keyboard, the typing mark and the draft: a list at its end stays there.
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

	/** Returns whether there are older messages than those in the list. */
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
		// A new observation reports at once whether there is room for more.
		beginning.disconnect();
		if (hasOlder || from) beginning.observe($("beginning"));
		return hasOlder || from > 0;
	}

	const indexOf = (id) => (id ? snapshot.messages.findIndex((message) => message.id >= id) : 0);

	/** Show older messages: those of the snapshot, then those of the server. */
	function more() {
		if (!from) return needOlder();
		const index = indexOf(from) - SHOWN;
		from = index > 0 ? snapshot.messages[index].id : 0;
		again();
	}

	/** Put the divider before the first message that came while the user was not looking. */
	function divide(messages) {
		const unread = messages.filter(isUnread);
		const came = unread.find(({ id }) => id > newest);
		if (messages.at(-1)?.state === "sending") firstNew = null;
		else if (came && came === unread[0] && !(isPlaced && isThere())) firstNew = came.key;
	}

	const isThere = () => isAtEnd && document.visibilityState === "visible";

	/** Make the elements match the messages. */
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

	/** Returns a function that scrolls this message back to where it is now. */
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

	/** Set the first scroll position: at the divider, or at the end. */
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

	/** Have a screen reader read the messages since the last call; not those of the first page. */
	function announce(messages) {
		const news = messages.filter((message) => newest && message.id > newest && isUnread(message));
		newest = Math.max(newest, messages.findLast(({ id }) => id)?.id ?? 0);
		const said = news.map(({ sender_profile, content }) => `${nameOf(sender_profile)}: ${content.slice(0, ANNOUNCED)}`);
		if (said.length) setText($("news"), said.join("\n"));
	}

	/** Show or hide the button to the end, with the number of unread messages. */
	function showWay() {
		const unread = [...views.values()].filter(({ message }) => isUnread(message)).length;
		const text = unread ? ngettext("{count} new message", "{count} new messages", unread) : "";
		$("to-end").hidden = isAtEnd;
		$("to-end").ariaLabel = text || gettext("To the newest message");
		tell($("to-end").firstElementChild, text);
	}

	/** After midnight, "Today" becomes "Yesterday". */
	function tick() {
		for (const view of views.values()) view.updateDay();
	}

	return { show, clear, tick };
}
