/** A mentor's list of students: the last message, unread messages, and who has waited longest for an answer. */

import { createConnection } from "./connection.js";
import { $, copyOf, nameOf, setAvatar, setMark, setText, tell } from "./elements.js";
import { durationOf, gettext, momentOf, ngettext, number } from "./texts.js";

const EXCERPT = 160; // characters; a row shows no more

/** A student waits if the last message is theirs, whether it was read or not. */
const isWaiting = ({ is_active, last_message: last }) => is_active && last?.is_own_message === false;
const isUnread = (conversation) => conversation.unread_message_count_for_user > 0;
const FILTERS = { all: () => true, unread: isUnread, waiting: isWaiting };
const sentAt = ({ last_message }) => Date.parse(last_message.timestamp);

const NOTES = {
	all: () => gettext("Your students appear here once they have opened the chat."),
	unread: () => gettext("You have read everything."),
	waiting: () => gettext("Nobody is waiting for an answer."),
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
	const rows = new Map(); // conversation id -> element
	const connection = createConnection($("inbox-connection"), () => {
		inbox.close();
		inbox.open();
	});

	for (const button of $("filters").children)
		button.addEventListener("click", () => {
			filter = button.dataset.filter;
			show();
		});
	$("search").addEventListener("input", show);
	$("conversations").addEventListener("keydown", walk);

	function show() {
		const snapshot = inbox.getSnapshot();
		const waiting = snapshot.conversations.filter(isWaiting).sort((one, other) => sentAt(one) - sentAt(other));
		const wanted = $("search").value.trim().toLocaleLowerCase();
		const isFound = ({ student_profile: person }) => nameOf(person).toLocaleLowerCase().includes(wanted);
		const listed = filter === "waiting" ? waiting : snapshot.conversations.filter(FILTERS[filter]);
		const found = listed.filter(isFound);
		connection.show(snapshot);
		place(found, waiting[0]);
		showFilters({ unread: snapshot.conversations.filter(isUnread).length, waiting: waiting.length });
		const nobody = wanted ? gettext("No student of this name.") : NOTES[filter]();
		tell($("inbox-note"), snapshot.isLoaded && !found.length ? nobody : "");
	}

	function showFilters(counts) {
		for (const button of $("filters").children) {
			button.ariaPressed = String(button.dataset.filter === filter);
			const count = counts[button.dataset.filter];
			if (button.firstElementChild) setText(button.firstElementChild, count ? number(count) : "");
		}
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
		setText(part("excerpt"), last ? last.content.slice(0, EXCERPT) : gettext("No messages yet"));
		setMark(row, last ? stateOf(last) : null);
		const time = row.querySelector("time");
		time.dateTime = last?.timestamp ?? "";
		setText(time, last ? momentOf(new Date(last.timestamp)) : "");
		part("badge").hidden = !unread;
		setText(part("number"), number(unread));
		setText(part("badge").lastElementChild, ngettext("{count} unread message", "{count} unread messages", unread));
		tell(part("chip"), chipOf(conversation, isLongest));
		part("chip").classList.toggle("is-longest", isLongest);
		row.firstElementChild.ariaCurrent = id === openId ? "page" : "false";
		row.firstElementChild.classList.toggle("is-unread", unread > 0);
	}

	function chipOf(conversation, isLongest) {
		if (!conversation.is_active) return gettext("Closed");
		if (!isWaiting(conversation)) return "";
		const duration = durationOf(Date.now() - sentAt(conversation));
		if (isLongest) return gettext("Waiting longest: {duration}", { duration });
		return gettext("Waiting: {duration}", { duration });
	}

	/** Move the focus through the list by the arrow keys, Home and End. */
	function walk(event) {
		const links = [...$("conversations").querySelectorAll("a")];
		const here = links.indexOf(document.activeElement);
		const there = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: links.length - 1 }[event.key];
		if (there === undefined) return;
		event.preventDefault();
		links[there]?.focus();
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
			inbox = null;
			rows.clear();
			$("conversations").replaceChildren();
			$("search").value = "";
			filter = "all";
		},
		/** Mark the conversation that is open beside the list. */
		mark(id) {
			openId = id;
			if (inbox) show();
		},
		focus: (id) => rows.get(id)?.firstElementChild.focus(),
		tick: () => inbox && show(),
	};
}
