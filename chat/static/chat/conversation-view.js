/** One conversation on the page: the other participant, the messages and the composer. */

import { createComposer, draftKey } from "./composer.js";
import { createConnection } from "./connection.js";
import { $, nameOf, setAvatar, setText, tell } from "./elements.js";
import { createMessageList } from "./message-list.js";
import { createReportDialog } from "./report-dialog.js";
import { dayOf, gettext, timeOf } from "./texts.js";

/** The presence of the other participant, in words. */
function presenceOf({ status, typing, presence }) {
	if (status !== "open") return "";
	if (typing) return gettext("typing…");
	if (presence?.is_online) return gettext("online");
	if (!presence?.last_seen) return "";
	const date = new Date(presence.last_seen);
	return gettext("last seen: {day}, {time}", { day: dayOf(date), time: timeOf(date) });
}

const DELAYS = {
	rate_limited: () => gettext("Too many messages at once. Sending goes on in a moment."),
	temporarily_unavailable: () => gettext("The server is busy. Sending goes on as soon as it can."),
};

/** Calls `stopped` with the reason when a chat stops and will not reconnect by itself. */
export function createConversationView(stopped) {
	let chat = null;
	let user = null;
	let unsubscribe;
	const list = createMessageList({
		seen: (id) => chat.markVisible(id),
		needOlder: () => $("older").hidden && loadOlder(), // after a failure, only the button asks again
		again: () => show(chat.getSnapshot()),
		retry: (clientId) => chat.retry(clientId),
		discard: (clientId) => chat.discard(clientId),
		edit,
		report: createReportDialog((id, reason) => chat.report(id, reason)),
	});
	const composer = createComposer({
		send: (text) => {
			list.follow();
			chat.send(text);
		},
		typing: (isTyping) => chat?.setTyping(isTyping),
	});
	const connection = createConnection($("conversation-connection"), () => {
		chat.close();
		chat.open();
	});
	$("older").addEventListener("click", loadOlder);
	window.addEventListener("beforeprint", () => chat && list.showAll());

	/** Put a failed message back into the field, behind what is written there. */
	function edit({ clientId, content }) {
		const draft = $("draft");
		draft.value = draft.value.trim() ? `${draft.value}\n${content}` : content;
		draft.dispatchEvent(new Event("input"));
		chat.discard(clientId);
		draft.focus();
	}

	async function loadOlder() {
		const asked = chat;
		const failed = await chat.loadOlder().then(
			() => false,
			() => true,
		);
		if (asked === chat) $("older").hidden = !failed;
	}

	function show(snapshot) {
		const { status, reason, conversation, messages, isLoaded, typing, delay } = snapshot;
		if (status === "stopped" && reason !== "closed") return stopped(reason);
		const person = otherOf(conversation) ?? user.mentor;
		if (person) showPerson(person);
		const presence = presenceOf(snapshot);
		tell($("presence"), presence);
		$("presence").classList.toggle("is-lively", typing || Boolean(snapshot.presence?.is_online));
		$("typing").hidden = !typing;
		connection.show(snapshot);
		const hasMore = list.show(snapshot);
		tell($("beginning-note"), hasMore ? "" : beginningOf(snapshot));
		$("beginning").classList.toggle("is-busy", hasMore || !isLoaded);
		$("scroller").classList.toggle("is-empty", isLoaded && !messages.length);
		showClosed(conversation);
		composer.tell(messages.at(-1)?.state === "sending" ? (DELAYS[delay]?.() ?? "") : "");
		if (conversation) composer.open(draftKey(user, conversation.id));
	}

	const otherOf = (conversation) =>
		conversation &&
		(conversation.student_profile.user_id === user.profile.user_id
			? conversation.teacher_profile
			: conversation.student_profile);

	function showPerson(person) {
		setText($("with-name"), nameOf(person));
		setAvatar($("avatar"), person);
	}

	function beginningOf({ isLoaded, messages }) {
		if (!isLoaded) return "";
		if (messages.length) return gettext("This is where your conversation begins.");
		return gettext("Nothing has been said yet. Write the first message.");
	}

	function showClosed(conversation) {
		const isClosed = conversation?.is_active === false;
		$("closed").hidden = !isClosed;
		$("composer").hidden = isClosed;
		$("conversation").classList.toggle("is-closed", isClosed);
		if (!isClosed) return;
		const name = nameOf(conversation.student_profile);
		setText(
			$("closed-text"),
			gettext("{name} has another mentor now. You can read this conversation, and not write in it any more.", { name }),
		);
	}

	return {
		/** Show a chat. Its creator opens it. */
		open(newChat, newUser) {
			this.close();
			chat = newChat;
			user = newUser;
			unsubscribe = chat.subscribe(() => show(chat.getSnapshot()));
			show(chat.getSnapshot());
		},
		close() {
			unsubscribe?.();
			unsubscribe = chat = null;
			list.clear();
			composer.clear();
			$("report").close();
		},
		focus: composer.focus,
		tick() {
			if (!chat) return;
			list.tick();
			show(chat.getSnapshot());
		},
	};
}
