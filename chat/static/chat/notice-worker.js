/** The service worker of notices.js. It shows notifications, and leads to the page when one is clicked. */

async function open(hash) {
	const pages = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
	const page = pages.find(({ url }) => new URL(url).pathname === "/");
	if (!page) return self.clients.openWindow(`/${hash}`);
	page.postMessage(hash);
	return page.focus();
}

self.addEventListener("notificationclick", (event) => {
	event.notification.close();
	event.waitUntil(open(event.notification.data));
});
