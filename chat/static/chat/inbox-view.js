/** A mentor's list of students: the last message, unread messages, and who has waited longest for an answer. */

import { listUnsent } from "./client.js";
import { createConnection } from "./connection.js";
import { $, copyOf, nameOf, setAvatar, setMark, setText, tell, textOf, walk } from "./elements.js";
import { durationSince, folded, gettext, momentOf, ngettext, number } from "./texts.js";

const EXCERPT = 160; // characters; a row shows no more

const isWaiting = ({ waiting_since }) => Boolean(waiting_since);
const isUnread = (conversation) => conversation.unread_message_count_for_user > 0;
const FILTERS = { all: () => true, unread: isUnread, waiting: isWaiting };

const NOTES = {
	all: () => gettext("No student is assigned to you yet. If one is missing, ask your administration."),
	unread: () => gettext("You have read everything. Choose “All” to see every student."),
	waiting: () => gettext("Nobody is waiting for an answer. Choose “All” to see every student."),
};

function stateOf({ is_own_message, is_read }) {
	if (!is_own_message) return "received";
	return is_read ? "read" : "sent";
}

export function createInboxView() {
	let inbox = null;
	let unsubscribe;
	let filter = "all";
	let openId = null;
	let kept = null; // the id of the last opened one, which stays in the list although it is read or answered now
	let keptSince; // its place among those who wait
	const rows = new Map(); // conversation id -> element
	const connection = createConnection($("inbox-connection"), () => {
		inbox.close();
		inbox.open();
	});

	for (const button of $("filters").children)
		button.addEventListener("click", () => {
			filter = button.dataset.filter;
			kept = null;
			show();
		});
	$("search").addEventListener("input", show);
	$("search").addEventListener("keydown", (event) => event.key === "ArrowDown" && walk(event, links()));
	$("conversations").addEventListener("keydown", (event) => walk(event, links()));

	const links = () => [...$("conversations").querySelectorAll("a")];

	function show() {
		const snapshot = inbox.getSnapshot();
		const waiting = snapshot.conversations.filter(isWaiting);
		const longest = waiting.reduce((one, other) => (one && sinceOf(one) <= sinceOf(other) ? one : other), null);
		const wanted = folded($("search").value.trim());
		const isFound = ({ student_profile: person }) => folded(nameOf(person)).includes(wanted);
		const found = snapshot.conversations.filter((one) => (one.id === kept || FILTERS[filter](one)) && isFound(one));
		if (filter === "waiting") found.sort((one, other) => sinceOf(one) - sinceOf(other));
		connection.show(snapshot);
		place(found, longest);
		showLongest(longest);
		const unread = snapshot.conversations.filter(isUnread);
		showFilters({ unread: unread.length, waiting: waiting.length });
		showElsewhere(unread.filter(({ id }) => id !== openId).length);
		const nobody = wanted
			? gettext("No student of this name here. Clear the search, or choose “All”.")
			: NOTES[filter]();
		tell($("inbox-note"), snapshot.isLoaded && !found.length ? nobody : "");
	}

	function showFilters(counts) {
		for (const button of $("filters").children) {
			button.setAttribute("aria-pressed", String(button.dataset.filter === filter));
			const count = counts[button.dataset.filter];
			const element = button.querySelector(".count");
			if (element) setText(element, count ? number(count) : "");
		}
	}

	/** How many other conversations are unread, for who sees only one of them: on a phone. */
	function showElsewhere(count) {
		$("back").dataset.elsewhere = count ? number(count) : "";
	}

	const sinceOf = ({ waiting_since }) => (waiting_since ? Date.parse(waiting_since) : keptSince);

	function showLongest(longest) {
		$("longest").hidden = !longest;
		if (!longest) return;
		$("longest").href = `#/conversations/${longest.id}`;
		const values = { name: nameOf(longest.student_profile), duration: durationSince(sinceOf(longest)) };
		setText($("longest"), gettext("Waiting longest: {name}, {duration}", values));
	}

	function place(conversations, longest) {
		const focused = document.activeElement;
		const elements = conversations.map((conversation) => {
			const row = rows.get(conversation.id) ?? added(conversation.id);
			update(row, conversation, conversation === longest);
			return row;
		});
		const current = [...$("conversations").children];
		if (elements.length === current.length && elements.every((row, index) => row === current[index])) return;
		$("conversations").replaceChildren(...elements);
		if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
	}

	function added(id) {
		const row = copyOf("row-template");
		row.firstElementChild.href = `#/conversations/${id}`;
		rows.set(id, row);
		return row;
	}

	function update(row, conversation, isLongest) {
		const { id, student_profile: person, last_message: last, unread_message_count_for_user: unread } = conversation;
		const part = (name) => row.querySelector(`.${name}`);
		setAvatar(part("avatar"), person);
		setText(part("name"), nameOf(person));
		const left = leftOf(id);
		setText(part("label"), left?.label ?? "");
		const shown = left ?? last;
		setText(part("excerpt"), shown ? textOf(shown).slice(0, EXCERPT) : gettext("No messages yet: write first"));
		setMark(row, last && !left ? stateOf(last) : null);
		const time = row.querySelector("time");
		time.dateTime = last?.timestamp ?? "";
		setText(time, last ? momentOf(new Date(last.timestamp)) : "");
		part("badge").hidden = !unread;
		setText(part("number"), number(unread));
		setText(part("badge-words"), ngettext("{count} unread message", "{count} unread messages", unread));
		tell(part("chip"), chipOf(conversation));
		part("chip").classList.toggle("is-longest", isLongest);
		row.firstElementChild.setAttribute("aria-current", id === openId ? "page" : "false");
		row.firstElementChild.classList.toggle("is-unread", unread > 0);
	}

	/** What the user has written there and not sent: `{label, content}`, or null. */
	function leftOf(id) {
		const { kept, user } = inbox.getSnapshot();
		const { sending = 0, failed = 0, draft = "" } = kept.get(id) ?? {};
		const content = sending || failed ? listUnsent(user).findLast((one) => one.conversationId === id)?.content : "";
		if (content) return { label: gettext("Not sent:"), content };
		return draft && id !== openId ? { label: gettext("Draft:"), content: draft } : null;
	}

	function chipOf(conversation) {
		if (!conversation.is_active) return gettext("Closed");
		if (!isWaiting(conversation)) return "";
		return gettext("Waiting: {duration}", { duration: durationSince(sinceOf(conversation), "short") });
	}

	return {
		open(newInbox, changed) {
			inbox = newInbox;
			unsubscribe = inbox.subscribe(() => {
				show();
				changed(inbox.getSnapshot());
			});
			show();
		},
		close() {
			unsubscribe?.();
			connection.hide();
			inbox = null;
			kept = null;
			showElsewhere(0);
			rows.clear();
			$("conversations").replaceChildren();
			$("search").value = "";
			filter = "all";
		},
		/** Mark the conversation that is open beside the list. */
		mark(id) {
			openId = id;
			const opened = id && inbox?.getSnapshot().conversations.find((one) => one.id === id);
			if (id) [kept, keptSince] = [id, opened?.waiting_since && Date.parse(opened.waiting_since)];
			if (!inbox) return;
			show();
			rows.get(id)?.scrollIntoView({ block: "nearest" });
		},
		focus: (id) => rows.get(id)?.firstElementChild.focus(),
		tick: () => inbox && show(),
	};
}
