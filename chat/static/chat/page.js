// The page at `/`: sign in, one conversation at a time. History comes over REST, what happens now over a WebSocket.

const refreshMs = 20_000; // how often a mentor's list is asked for again
const closings = {
  4401: "You were signed out.",
  4403: "The conversation that was open has ended for you.",
  4404: "The conversation that was open is gone.",
};
const $ = (id) => document.getElementById(id);

let me = null;
let current = null; // the conversation that is open, see `openConversation`

// Returns the answer of a path under /api/v1/, or throws an Error that a person can read, with the status.
async function request(method, path, body) {
  const headers = { Accept: "application/json" };
  if (method !== "GET") {
    headers["X-CSRFToken"] = (await request("GET", "auth/csrf/")).csrfToken;
    headers["Content-Type"] = "application/json";
  }
  const response = await fetch(`/api/v1/${path}`, { method, headers, body: body && JSON.stringify(body) });
  const answer = await response.json().catch(() => null);
  if (response.ok) return answer;
  const text = answer?.detail ?? Object.values(answer ?? {}).flat()[0] ?? `The server answered ${response.status}.`;
  const wait = Math.ceil((response.headers.get("Retry-After") ?? 0) / 60);
  throw Object.assign(new Error(wait ? `${text} Try again in ${wait} min.` : text), { status: response.status });
}

async function start(reason = "") {
  try {
    enter(await request("GET", "auth/me/"));
    $("error").textContent = reason;
  } catch (error) {
    leave(error.status === 401 ? reason : "The server cannot be reached. Reload the page to try again.");
  }
}

function enter(user) {
  me = user;
  $("sign-in").hidden = true;
  $("chat").hidden = $("account").hidden = false;
  $("account-name").textContent = me.profile ? nameOf(me.profile) : me.username;
  const isMentor = ["TEACHER", "TRAINER"].includes(me.profile?.role);
  $("list").hidden = $("back").hidden = !isMentor;
  if (isMentor) showList();
  else if (me.mentor) openConversation(null, me.mentor, "my-conversation/", "chat/my-conversation/messages/");
  else if (me.profile) show("nothing", "You have no mentor yet. As soon as one is assigned, you can write here.");
  else show("nothing", "This page is for students and their mentors.");
}

function leave(reason) {
  closeConversation();
  me = null;
  $("conversations").replaceChildren();
  $("sign-in").hidden = false;
  $("chat").hidden = $("account").hidden = true;
  $("sign-in-error").textContent = reason;
  $("sign-in-form").reset();
  $("username").focus();
}

async function signIn(username, password) {
  $("sign-in-error").textContent = "";
  const user = await request("POST", "auth/login/", { username, password }).catch((error) => error);
  if (user instanceof Error) $("sign-in-error").textContent = user.message;
  else enter(user);
}

async function signOut() {
  const said = await request("POST", "auth/logout/").catch((error) => error);
  if (said instanceof Error && said.status !== 401) $("error").textContent = said.message;
  else leave("");
}

function showList() {
  closeConversation();
  show("list", "Choose a conversation.");
  refreshList();
}

async function refreshList() {
  if (!me || $("list").hidden || document.hidden) return;
  const page = await request("GET", "chat/teacher/conversations/?page_size=200").catch((error) => error);
  if (page.status === 401) return leave(closings[4401]);
  const focused = document.activeElement.dataset.id;
  if (page.results) $("conversations").replaceChildren(...page.results.map(listItem));
  if (focused) $("conversations").querySelector(`[data-id="${focused}"]`)?.focus();
  const nobody = page.count === 0 && "Your students appear here once they have opened the chat.";
  $("list-note").textContent = page.message || nobody || "";
}

function listItem(conversation) {
  const { id, student_profile: person, last_message: last, unread_message_count_for_user: unread } = conversation;
  const excerpt = element("small", "", last ? last.content : "No messages yet");
  excerpt.dir = "auto";
  const side = element("span", "side", element("small", "", last ? timeOf(last) : ""));
  if (unread) side.append(element("span", "badge", unread, element("span", "hidden", " unread")));
  const avatar = element("span", "avatar", initial(person));
  avatar.ariaHidden = "true";
  const who = element("span", "who", element("bdi", "name", nameOf(person)), excerpt);
  const button = element("button", "open", avatar, who, side);
  button.dataset.id = id;
  button.ariaCurrent = String(current?.id === id);
  const paths = [`conversations/${id}/`, `chat/teacher/conversations/${id}/messages/`];
  button.addEventListener("click", () => openConversation(id, person, ...paths));
  return element("li", "", button);
}

function openConversation(id, person, socketPath, restPath) {
  closeConversation();
  // `shown`: the messages on the page, by id. `pending`: the last frame sent and whether its answer is awaited.
  current = { id, socketPath, restPath, shown: new Map(), hasOlder: false, pending: null, awaits: false, tries: 0 };
  $("with").textContent = nameOf(person);
  $("avatar").textContent = initial(person);
  $("messages").replaceChildren();
  $("draft").value = $("empty").textContent = $("error").textContent = "";
  $("older").hidden = true;
  show("conversation");
  for (const button of document.querySelectorAll(".open")) button.ariaCurrent = button.dataset.id === String(id);
  connect(current);
}

function closeConversation() {
  clearTimeout(current?.timer);
  current?.socket.close();
  current = null;
}

function connect(chat) {
  setConnected(false, chat.tries ? "Connecting again …" : "Connecting …");
  const origin = location.origin.replace(/^http/, "ws"); // wss: where the page is https:
  // What arrives while nobody looks is marked by a frame, once seen.
  chat.socket = new WebSocket(`${origin}/ws/chat/${chat.socketPath}?mark_read=false`);
  chat.socket.onmessage = (event) => chat === current && receive(chat, JSON.parse(event.data));
  chat.socket.onclose = (event) => chat === current && closed(chat, event.code);
}

function closed(chat, code) {
  setConnected(false, "Not connected");
  if (closings[code]) return start(closings[code]);
  const waitMs = Math.random() * Math.min(30_000, 500 * 2 ** chat.tries++);
  chat.timer = setTimeout(async () => {
    // A refused handshake looks like a lost connection: ask which it is.
    const answer = await request("GET", "auth/me/").catch((error) => error);
    if (chat !== current) return;
    if (answer.status === 401) leave(closings[4401]);
    else connect(chat);
  }, waitMs);
}

function receive(chat, frame) {
  if (frame.type === "connection_established") established(chat);
  else if (frame.type === "new_message") arrived(chat, frame);
  else if (frame.type === "update_message_status") frame.message_ids.forEach((id) => becameRead(chat, id));
  else if (frame.error) answered(chat, frame.error); // what was sent is still in the box
}

// The socket first, then the history: nothing said in between is missed, and `put` drops what comes twice.
async function established(chat) {
  chat.shown.clear();
  $("messages").replaceChildren();
  if (!(await loadPage(chat, ""))) return chat.socket.close();
  chat.tries = 0;
  setConnected(true, "Connected");
  if (chat.awaits) chat.socket.send(JSON.stringify(chat.pending));
  markRead(chat);
}

async function loadPage(chat, cursor) {
  const path = `${chat.restPath}?limit=50&mark_read=false${cursor}`;
  const page = await request("GET", path).catch((error) => error);
  if (chat !== current) return false;
  if (page instanceof Error) $("error").textContent = page.message;
  if (!page.results) return false;
  chat.hasOlder = page.previous !== null;
  put(chat, page.results);
  return true;
}

async function loadOlder(chat) {
  const fromBottom = $("scroller").scrollHeight - $("scroller").scrollTop;
  await loadPage(chat, `&before=${Math.min(...chat.shown.keys())}`);
  $("scroller").scrollTop = $("scroller").scrollHeight - fromBottom;
}

function arrived(chat, frame) {
  put(chat, [frame.message]);
  if (chat.pending && frame.client_id === chat.pending.client_id) {
    if ($("draft").value === chat.pending.message) $("draft").value = "";
    chat.pending = null;
    answered(chat, "");
  }
  markRead(chat);
  refreshList();
}

function answered(chat, error) {
  chat.awaits = false;
  $("send").disabled = $("draft").disabled;
  $("error").textContent = error;
}

function send(chat) {
  const message = $("draft").value;
  if (!message.trim() || $("send").disabled) return;
  // The same text again after an error keeps its client_id: it is not stored twice.
  if (chat.pending?.message !== message) chat.pending = { message, client_id: `${Date.now()}-${Math.random()}` };
  chat.awaits = $("send").disabled = true;
  chat.socket.send(JSON.stringify(chat.pending));
}

function markRead(chat) {
  const unread = [...chat.shown.values()].filter(({ message }) => !message.is_own_message && !message.is_read);
  if (document.hidden || !unread.length || chat.socket.readyState !== WebSocket.OPEN) return;
  const newest = Math.max(...unread.map(({ message }) => message.id));
  chat.socket.send(JSON.stringify({ type: "mark_read", message_id: newest }));
}

function becameRead(chat, id) {
  const entry = chat.shown.get(id);
  if (entry) entry.meta.textContent = metaOf(Object.assign(entry.message, { is_read: true }));
}

function put(chat, messages) {
  const scroller = $("scroller");
  const atEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 80;
  for (const message of messages) if (!chat.shown.has(message.id)) insert(chat, message);
  $("older").hidden = !chat.hasOlder;
  $("empty").textContent = chat.shown.size ? "" : "Nothing was said yet. Write the first message.";
  if (atEnd || messages.at(-1)?.is_own_message) scroller.scrollTop = scroller.scrollHeight;
}

function insert(chat, message) {
  const author = message.is_own_message ? "You" : nameOf(message.sender_profile);
  const text = element("p", "text", message.content);
  const meta = element("small", "meta", metaOf(message));
  const bubble = element("div", "bubble", element("span", "hidden", `${author}: `), text, meta);
  const item = element("li", message.is_own_message ? "message own" : "message", bubble);
  text.dir = "auto";
  item.dataset.id = message.id;
  const next = [...$("messages").children].find((other) => Number(other.dataset.id) > message.id);
  $("messages").insertBefore(item, next ?? null);
  chat.shown.set(message.id, { message, meta });
}

function show(part, text = "") {
  $("conversation").hidden = part !== "conversation";
  $("nothing").hidden = !text;
  $("nothing").textContent = text;
}

function setConnected(isConnected, text) {
  current.wasWriting ||= document.activeElement === $("draft");
  $("state").textContent = text;
  $("state").classList.toggle("connected", isConnected);
  $("draft").disabled = !isConnected;
  $("send").disabled = !isConnected || current.awaits;
  if (isConnected && current.wasWriting) $("draft").focus(); // which disabling took away
}

// Text becomes text nodes: nothing that people write is ever read as HTML.
function element(tag, className, ...children) {
  const made = Object.assign(document.createElement(tag), { className });
  made.append(...children);
  return made;
}

function timeOf(message) {
  const date = new Date(message.timestamp);
  const isToday = date.toDateString() === new Date().toDateString();
  const day = isToday ? {} : { day: "numeric", month: "short" };
  return date.toLocaleString([], { ...day, hour: "2-digit", minute: "2-digit" });
}

const seen = (message) => (message.is_read ? " · Seen" : " · Sent");
const metaOf = (message) => timeOf(message) + (message.is_own_message ? seen(message) : "");
const nameOf = (person) => person.full_name || person.username;
const initial = (person) => [...nameOf(person)][0];

const on = (id, type, listener) => $(id).addEventListener(type, listener);

on("sign-out", "click", signOut);
on("older", "click", () => loadOlder(current));
on("back", "click", showList);
on("sign-in-form", "submit", () => signIn($("username").value, $("password").value));
on("composer", "submit", () => send(current));
for (const form of document.forms) form.addEventListener("submit", (event) => event.preventDefault());
on("draft", "keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  send(current);
});
for (const button of document.querySelectorAll(".demo-account"))
  button.addEventListener("click", () => signIn(button.dataset.username, $("demo-password").textContent));
document.addEventListener("visibilitychange", () => current && markRead(current));
document.addEventListener("visibilitychange", refreshList);
setInterval(refreshList, refreshMs);
start();
