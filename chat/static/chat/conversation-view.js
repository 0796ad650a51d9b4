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
	let knownId = 0; // of the conversation; 0 until it is known
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
		// A locked person has no socket, which is no fault of the connection.
		const isExpected = snapshot.user?.is_locked && (status === "connecting" || status === "polling");
		connection.show(isExpected ? { ...snapshot, status: "open" } : snapshot);
		const hasMore = list.show(snapshot);
		tell($("beginning-note"), hasMore ? "" : beginningOf(snapshot));
		$("beginning").classList.toggle("is-busy", hasMore || !isLoaded);
		$("scroller").classList.toggle("is-empty", isLoaded && !messages.length);
		showClosed(conversation, snapshot.user ?? user);
		composer.tell(messages.at(-1)?.state === "sending" ? (DELAYS[delay]?.() ?? "") : "");
		composer.open(draftKey(user, conversation?.id ?? knownId));
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

	function beginningOf({ isLoaded, messages, conversation, user: reader }) {
		if (!isLoaded) return "";
		if (!messages.length && conversation && whyClosed(conversation, reader ?? user))
			return gettext("Nothing has been said here.");
		if (messages.length) return gettext("This is where your conversation begins.");
		return gettext("Nothing has been said yet. Write the first message.");
	}

	function showClosed(conversation, reader) {
		const why = conversation ? whyClosed(conversation, reader) : "";
		const isClosed = why !== "";
		$("closed").hidden = !isClosed;
		$("composer").hidden = isClosed;
		$("conversation").classList.toggle("is-closed", isClosed);
		if (isClosed) tell($("closed-text"), why);
	}

	/** Why nothing can be written, in the order of the server's refusals; an empty text if something can. */
	function whyClosed({ is_active, is_locked, student_profile: student, teacher_profile: mentor }, reader) {
		if (reader.is_locked) return gettext("Your account is locked. You can read, and not write.");
		if (is_active === false && reader.profile.user_id === student.user_id)
			return gettext(
				"{name} is not your mentor any more. You can read this conversation, and not write in it any more.",
				{ name: nameOf(mentor) },
			);
		if (is_active === false)
			return gettext("{name} has another mentor now. You can read this conversation, and not write in it any more.", {
				name: nameOf(student),
			});
		return is_locked ? gettext("This conversation is locked. You can read it, and not write in it.") : "";
	}

	return {
		/** Show a chat, and its conversation's id if that is known. Its creator opens it. */
		open(newChat, newUser, id) {
			this.close();
			chat = newChat;
			user = newUser;
			knownId = id;
			unsubscribe = chat.subscribe(() => show(chat.getSnapshot()));
			show(chat.getSnapshot());
		},
		close() {
			unsubscribe?.();
			unsubscribe = chat = null;
			list.clear();
			composer.clear();
			connection.hide();
			$("older").hidden = true;
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
