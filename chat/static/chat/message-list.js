/** The list of messages, oldest first, and the scroll position in it. */

import { announce, forgetAnnouncements } from "./announcer.js";
import { $, isLooking, nameOf, onReturn, tell, textOf } from "./elements.js";
import { createMessageKeys } from "./message-keys.js";
import { createMessageView } from "./message-view.js";
import { createScrollPlace, lowest } from "./scroll-place.js";
import { dayOf, gettext, ngettext, number } from "./texts.js";

const AT_END = 48; // px from the end; within it, the list follows new messages
const SHOWN = 200; // messages that stay in the list while it is scrolled to the end
const DAY = 40; // px from the upper edge; within them, the day of what is read is shown
const TOLD = 5; // messages that a screen reader reads at once; of more it tells only how many they are
const ANNOUNCED = 200; // characters of a message that a screen reader reads

const isUnread = ({ state, is_read }) => state === "received" && !is_read;

/**
 * Calls `seen` with the id of each message that comes into view, `needOlder` when the first one is near, and `again` when
 * the snapshot must be shown again.
 */
export function createMessageList({ seen, needOlder, again, ...actions }) {
	const scroller = $("scroller");
	const list = $("messages");
	const keys = createMessageKeys(list);
	const views = new Map(); // message key -> view
	const viewOf = new WeakMap(); // element -> view
	let snapshot = null;
	let from = 0; // the id of the first message in the list; 0: all are in it
	let firstNew = null; // the key of the message below the divider
	let newest = 0; // the id of the newest message that was shown
	let onScreen = 0; // the id of the newest message that was on the screen
	let lastSeen = 0; // the same while the user looked at it; the server may not know yet
	let isAtEnd = true;
	let isPlaced = false; // whether the first scroll position is set
	let wasAway = false; // whether there was no connection when the last snapshot was shown
	let size = ""; // of the scroller, when the place in it was last restored
	let end = 0; // the scroll position of the end, when the list was last scrolled to it
	const place = createScrollPlace(scroller, list, (element) => viewOf.get(element).bubble);

	const visible = new IntersectionObserver(
		(entries) => {
			for (const { isIntersecting, target } of entries) if (isIntersecting) noteSeen(viewOf.get(target).message.id);
		},
		{ root: scroller, rootMargin: "-8px" },
	);
	const top = new IntersectionObserver(
		(entries) => entries.some(({ isIntersecting }) => isIntersecting) && isPlaced && more(),
		{
			root: scroller,
			rootMargin: "800px 0px 0px",
		},
	);
	// The size changes with the on-screen keyboard, a turned phone, a banner and the draft: the place stays.
	const resized = new ResizeObserver(stay);
	resized.observe(scroller);
	resized.observe(list);
	scroller.addEventListener("scroll", () => {
		noteScroll();
		if (isSized()) isAtEnd = isNearEnd(); // otherwise the size is told next, and `stay` called
		showWay();
	});
	onReturn(look);
	$("to-end").addEventListener("click", () => {
		const view = unreadBelowDivider();
		if (view && offsetOf(view) > scroller.clientHeight) toDivider();
		else toEnd();
		scroller.focus({ preventScroll: true });
	});

	function noteSeen(id) {
		onScreen = Math.max(onScreen, id);
		look();
	}

	function look() {
		if (!onScreen || !isLooking()) return;
		lastSeen = onScreen;
		seen(lastSeen);
	}

	function clear() {
		visible.disconnect();
		views.clear();
		list.replaceChildren();
		firstNew = null;
		from = newest = onScreen = lastSeen = end = 0;
		isPlaced = false;
		isAtEnd = true;
		wasAway = false;
		showWay();
		forgetAnnouncements();
	}

	/** Returns whether there are older messages than those in the list. */
	function show(next) {
		snapshot = next;
		const { messages, isLoaded, hasOlder } = snapshot;
		const isAway = snapshot.status === "connecting" || snapshot.status === "waiting";
		const beginning = divide(messages, isAway || wasAway);
		wasAway = isAway;
		if (isAtEnd && beginning - indexOf(from) > SHOWN) from = messages[beginning].id ?? from;
		noteScroll();
		arrange(messages.slice(indexOf(from)));
		if (isPlaced || isLoaded) stay();
		tellNews(messages);
		isPlaced ||= isLoaded;
		showWay();
		// A new observation reports at once whether there is room for more.
		top.disconnect();
		if (hasOlder || from) top.observe($("beginning"));
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

	/**
	 * Put the divider before the first message that came while the user was not looking. Returns the index of the message
	 * from which on all must stay in the list.
	 */
	function divide(messages, isAway) {
		const isSeen = isPlaced && isAtEnd && !isAway && isLooking();
		const unseen = messages.filter((message) => isUnread(message) && message.id > lastSeen);
		const came = unseen.find(({ id }) => id > newest);
		if (came && !isSeen && (!firstNew || came === unseen[0])) firstNew = came.key;
		const index = messages.findIndex((message) => message.key === firstNew && isUnread(message));
		return Math.max(0, Math.min(index < 0 ? messages.length : index, messages.length - SHOWN));
	}

	/** Make the elements match the messages. */
	function arrange(messages) {
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
		keys.update();
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

	/** At the end, follow it, but not past the divider while the message below that is unread. Elsewhere keep the place. */
	function stay() {
		size = sizeNow();
		if (!isAtEnd && place.restore()) return;
		toEnd();
		const view = unreadBelowDivider();
		if (view && offsetOf(view) < 0) toDivider();
	}

	/** Take the place that the user has scrolled to, which the browser tells later than other things. */
	function noteScroll() {
		const isLeft = isAtEnd && scroller.scrollTop < end - 1 && !isNearEnd();
		if (isLeft) isAtEnd = false;
		if (isLeft || isSized()) place.keep();
	}

	const isNearEnd = () => scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < AT_END;

	const sizeNow = () => `${scroller.clientWidth} ${scroller.clientHeight}`;

	/** Whether the place is what the user sees: after a change of the size, it is not until `stay` has restored it. */
	const isSized = () => size === sizeNow();

	function unreadBelowDivider() {
		const view = views.get(firstNew);
		return view && isUnread(view.message) ? view : null;
	}

	const offsetOf = ({ element }) => element.getBoundingClientRect().top - scroller.getBoundingClientRect().top;

	function toDivider() {
		isAtEnd = false;
		scroller.scrollTop += offsetOf(views.get(firstNew)) - Math.min(AT_END, scroller.clientHeight / 4);
		place.keep();
	}

	function toEnd() {
		isAtEnd = true;
		scroller.scrollTop = scroller.scrollHeight;
		end = scroller.scrollTop;
	}

	/** Have a screen reader read the messages since the last call; not those of the first page. */
	function tellNews(messages) {
		const news = messages.filter((message) => isPlaced && message.id > newest && isUnread(message));
		newest = Math.max(newest, messages.findLast(({ id }) => id)?.id ?? 0);
		if (news.length > TOLD) announce(ngettext("{count} new message", "{count} new messages", news.length));
		else
			for (const message of news) announce(`${nameOf(message.sender_profile)}: ${textOf(message).slice(0, ANNOUNCED)}`);
	}

	/** Show or hide the button to the end, with the number of unread messages. */
	function showWay() {
		const unread = [...views.values()].filter(({ message }) => isUnread(message)).length;
		const text = unread && ngettext("{count} new message", "{count} new messages", unread);
		$("to-end").hidden = isAtEnd;
		$("to-end").setAttribute("aria-label", text || gettext("To the newest message"));
		tell($("below"), unread ? number(unread) : "");
		tell($("day-now"), isAtEnd ? "" : dayAtTop());
	}

	/** The day of the messages at the upper edge; an empty text where it stands among them. */
	function dayAtTop() {
		const { top } = scroller.getBoundingClientRect();
		const view = viewOf.get(lowest(list.children, top + DAY));
		const isThere = !view || (!view.day.hidden && view.day.getBoundingClientRect().bottom > top);
		return isThere ? "" : dayOf(view.date);
	}

	/** After midnight, "Today" becomes "Yesterday". */
	function tick() {
		for (const view of views.values()) view.updateDay();
	}

	/** Follow the message that the user is about to send from here. */
	function follow() {
		isAtEnd = true;
		end = 0;
		firstNew = null;
	}

	/** Show everything that is loaded, e.g. to print it. */
	function showAll() {
		from = 0;
		isAtEnd = false; // there, only the newest messages stay in the list
		again();
	}

	return { show, clear, tick, follow, showAll };
}
