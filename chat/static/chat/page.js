/**
 * The page at `/`: who is signed in, and which screen is shown.
 *
 *     page.js                 sign-in.js | sign-out.js, menu.js, notices.js | inbox-view.js | conversation-view.js
 *     former.js               a student's former mentors, in the menu; loaded for students
 *     handoff-note.js         what a mentor was told about a student; loaded for mentors, as is waiting-note.js
 *     conversation-view.js    message-list.js > scroll-place.js, message-view.js > links.js; composer.js
 *     beside it               message-keys.js
 *     notice-switch.js        switches notifications on and off; loaded when they are
 *     all of them             connection.js, announcer.js, elements.js, texts.js; client.js has the messages
 *
 * For a mentor, the address names the open conversation: `#/conversations/7`; for a student, one with a former mentor:
 * `#/former/7`.
 */

import { createApi, createChat, createFormerChat, createInbox } from "./client.js";
import { createConversationView } from "./conversation-view.js";
import { $, nameOf, setAvatar, setText, textOf } from "./elements.js";
import { createInboxView } from "./inbox-view.js";
import { createMenu } from "./menu.js";
import { createNotices } from "./notices.js";
import { createSignIn, whoIsSignedIn } from "./sign-in.js";
import { createSignOut } from "./sign-out.js";
import { gettext, switchLanguage } from "./texts.js";

const MINUTE = 60_000;
const MENTORS = ["TEACHER", "TRAINER"];

const api = createApi();
const signIn = createSignIn(api, enter);
const signOut = createSignOut(api, {
	who: () => ({ user, chats: [...chats.values()] }),
	leaving: (isUnderWay) => {
		isLeaving = isUnderWay;
		if (!isUnderWay && user && hasStopped) stopped("signed_out");
		hasStopped = false;
	},
	left: leave,
	stay: () => menu.close(),
});
const menu = createMenu(signOut.hide);
const notices = createNotices(api);
const view = createConversationView(stopped);
const inboxView = createInboxView();
let waitingNote = null; // these three once they are loaded; the page works without them
let handoffNote = null;
let former = null;
const chats = new Map(); // conversation id -> chat; a student's only chat has the key 0
let user = null;
let inbox = null;
let openId = null; // the id of the conversation that is shown
let isLeaving = false; // the user is signing out
let hasStopped = false; // meanwhile the server ended a connection

const isMentor = () => MENTORS.includes(user.profile?.role);
const isStudent = () => user.profile?.role === "STUDENT";

async function start(notice) {
	const found = await whoIsSignedIn(api, signIn.hide);
	if (found) enter(found);
	else leave(notice);
}

function enter(newUser) {
	user = newUser;
	signIn.hide();
	$("chat").hidden = false;
	const person = user.profile ?? { full_name: user.username, user_id: user.id };
	setText($("account-name"), nameOf(person));
	setText($("account-username"), user.username);
	setAvatar($("account-avatar"), person);
	setText($("sign-out-error"), "");
	$("inbox").hidden = $("back").hidden = $("skip-to-inbox").hidden = !isMentor();
	$("conversation-menu").hidden = isMentor();
	notices.open(user);
	if (isMentor()) openInbox();
	if (isMentor()) openNotes().catch(() => {});
	if (isStudent()) openFormer().catch(() => {});
	route();
}

async function openNotes() {
	const { createWaitingNote } = await import("./waiting-note.js");
	waitingNote ??= createWaitingNote(
		(id) => inbox.done(id),
		() => view.focus(),
	);
	if (user) showWaiting();
	const { createHandoffNote } = await import("./handoff-note.js");
	handoffNote ??= createHandoffNote();
	if (user && isMentor() && openId) handoffNote.open(chats.get(openId), openId);
}

async function openFormer() {
	const { createFormer } = await import("./former.js");
	former ??= createFormer(() => location.hash.startsWith("#/former/") && route());
	if (user) former.open();
}

/** Close everything of the user who was signed in, and show the sign-in. */
function leave(notice) {
	if (user) {
		view.close();
		inboxView.close();
		former?.close();
		handoffNote?.forget();
		for (const store of [...chats.values(), inbox]) store?.close();
		chats.clear();
		user = inbox = openId = null;
		notices.close();
		menu.close();
	}
	$("chat").hidden = true;
	signIn.show(notice);
}

function openInbox() {
	inbox = createInbox({ user });
	inboxView.open(inbox, ({ status, reason, isLoaded, conversations, unreadTotal }) => {
		if (isLoaded) notices.show(unreadTotal, newestOf(conversations));
		showWaiting();
		if (status === "stopped" && reason !== "closed") stopped(reason);
	});
	inbox.open();
}

/** Show whether the student of the open conversation waits. */
function showWaiting() {
	waitingNote?.show(inbox?.getSnapshot().conversations.find(({ id }) => id === openId));
}

/** The newest unread message of all conversations. */
function newestOf(conversations) {
	const unread = conversations.filter((one) => one.unread_message_count_for_user && !one.last_message?.is_own_message);
	const [newest] = unread.sort((one, other) => other.last_message.id - one.last_message.id);
	return newest ? newsOf(newest.last_message, `#/conversations/${newest.id}`) : null;
}

const newsOf = (message, hash) => ({
	id: message.id,
	name: nameOf(message.sender_profile),
	text: textOf(message),
	hash,
});

/** Watch a chat that was just created: a student has no inbox. */
function watch(chat) {
	chat.subscribe(() => {
		if (!user || inbox) return;
		const { isLoaded, messages } = chat.getSnapshot();
		const unread = messages.filter(({ state, is_read }) => state === "received" && !is_read);
		if (isLoaded) notices.show(unread.length, unread.length ? newsOf(unread.at(-1), "") : null);
	});
}

/** Show the screen that the address names. */
function route() {
	if (!user) return;
	const id = isMentor()
		? Number(location.hash.match(/^#\/conversations\/(\d+)$/)?.[1] ?? 0)
		: (former?.idIn(location.hash) ?? 0);
	const before = openId;
	menu.close();
	handoffNote?.close();
	$("back").hidden = !isMentor() && !id;
	rest();
	inboxView.mark(id);
	if (isStudent() || id) return openChat(id);
	openId = null;
	showWaiting();
	if (isMentor())
		explain(
			gettext("Choose a conversation"),
			gettext("Whoever has waited longest for an answer is named above the list."),
		);
	else leadToAdmin();
	if (before) inboxView.focus(before);
}

function openChat(id) {
	openId = id;
	const conversation = inbox?.getSnapshot().conversations.find((one) => one.id === id);
	if (!chats.has(id) && isStudent() && id) {
		chats.set(id, createFormerChat({ user, conversation: former.get(id) }));
	} else if (!chats.has(id)) {
		chats.set(id, createChat({ user, conversationId: id || undefined, conversation }));
		watch(chats.get(id));
	}
	showScreen("conversation");
	chats.get(id).open(); // before it is shown: a student's own may have stopped, and the view shows why
	view.open(chats.get(id), user, id);
	if (isMentor()) handoffNote?.open(chats.get(id), id);
	showWaiting();
	view.focus();
}

/** Lead staff to the admin, which answers others with a redirect. */
async function leadToAdmin() {
	explain(gettext("Nothing to see here"), gettext("This page is for students and their mentors."));
	const { admin } = document.body.dataset;
	const answer = await fetch(admin, { method: "HEAD", redirect: "manual" }).catch(() => null);
	if (answer?.ok && user) location.assign(admin);
}

/** Close the chat that was shown, as soon as all of its messages are sent; a student's own goes on beside a former one. */
function rest() {
	const [id, chat] = [openId, chats.get(openId)];
	view.close();
	if (!chat || (isStudent() && !id)) return;
	const isBusy = () => chat.getSnapshot().messages.some(({ state }) => state === "sending");
	const closeWhenDone = () => {
		if (openId !== id && isBusy()) return;
		unsubscribe();
		if (openId !== id) chat.close();
	};
	openId = null;
	const unsubscribe = chat.subscribe(closeWhenDone);
	closeWhenDone();
}

/** Show why there is no conversation. */
function explain(heading, text, canCheck = false) {
	const hadFocus = $("conversation").contains(document.activeElement);
	showScreen("nothing");
	setText($("nothing-title"), heading);
	setText($("nothing-text"), text);
	$("nothing-back").hidden = !isMentor() || !location.hash.startsWith("#/conv");
	$("nothing-menu").hidden = isMentor();
	$("check-again").hidden = !canCheck;
	if (hadFocus) $("nothing-title").focus();
}

function showScreen(name) {
	$("conversation").hidden = name !== "conversation";
	$("nothing").hidden = name !== "nothing";
	$("skip-to-draft").hidden = name !== "conversation";
	const hasDetail = name === "conversation" || !isMentor() || location.hash.startsWith("#/conv");
	$("chat").classList.toggle("has-detail", hasDetail);
}

function stopped(reason) {
	if (reason === "signed_out") {
		hasStopped = isLeaving;
		if (isLeaving) return;
		leave();
		start(gettext("You were signed out.")); // another user may have signed in, in another tab
	} else if (reason === "no_mentor") {
		explain(gettext("No mentor yet"), gettext("As soon as a mentor is assigned to you, you can write here."), true);
	} else {
		explain(gettext("No such conversation"), gettext("It does not exist, or it is not yours."));
	}
}

for (const button of document.querySelectorAll(".switch-language"))
	button.addEventListener("click", () => switchLanguage(button.dataset.language));
$("check-again").addEventListener("click", route);
for (const link of document.querySelectorAll(".skip"))
	link.addEventListener("click", (event) => {
		event.preventDefault(); // the address must keep naming the open conversation
		const target = $(link.hash.slice(1));
		(target.querySelector("a") ?? target).focus();
	});
$("inbox").addEventListener("click", (event) => {
	const link = event.target.closest("a");
	if (link) cameFromList = link.hash !== location.hash;
});
$("back").addEventListener("click", (event) => {
	if (!history.state?.isFromList) return;
	event.preventDefault();
	history.back();
});
let cameFromList = false;
window.addEventListener("hashchange", () => {
	if (cameFromList) history.replaceState({ isFromList: true }, "");
	cameFromList = false;
	route();
});
document.addEventListener("visibilitychange", () => {
	if (!document.hidden && !$("check-again").hidden && !$("nothing").hidden) route();
});
// Safari's keyboard covers the page without resizing it, so resize it here. Leave a zoomed page as it is.
window.visualViewport?.addEventListener("resize", () => {
	const { height, scale } = window.visualViewport;
	if (!user || scale !== 1) return;
	$("chat").style.height = `${height}px`;
	window.scrollTo(0, 0);
});
setInterval(() => {
	view.tick();
	inboxView.tick();
	showWaiting();
}, MINUTE);
if ("hasSession" in document.body.dataset) start();
else signIn.show();
