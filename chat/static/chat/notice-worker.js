/**
 * The service worker of notices.js. It shows notifications, also those that a push asks for while no page is open, and
 * leads to the page when one is clicked. Its address ends with the text for the number of unread messages.
 */

const text = decodeURIComponent(self.location.search.slice(1));

async function open(hash) {
	const pages = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
	const page = pages.find(({ url }) => new URL(url).pathname === "/");
	if (!page) return self.clients.openWindow(`/${hash}`);
	page.postMessage(hash);
	return page.focus();
}

self.addEventListener("push", (event) => {
	const { conversation_id: id, name, count } = event.data.json();
	const body = text.replace("{count}", count);
	const hash = `#/conversations/${id}`;
	const options = { body, tag: hash, renotify: true, icon: "icon-192.png", data: hash };
	event.waitUntil(self.registration.showNotification(name, options));
});

self.addEventListener("notificationclick", (event) => {
	event.notification.close();
	event.waitUntil(open(event.notification.data));
});
