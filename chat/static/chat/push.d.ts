/** Web Push in a browser, for `api` from `client.js`. Not part of it, because few pages need it at their start. */

import type { Api } from "./client.js";

/**
 * Have this browser take pushes for who is signed in. The page must be allowed to show notifications:
 * `Notification.requestPermission()`, when a user switches them on. Call this then, and at each start of the page,
 * because a subscription ends with its session. Rejects with an `ApiError` of status 404 if the server sends no pushes,
 * and with a `DOMException` if the browser cannot reach its push service. The service worker gets
 * `{conversation_id, name, count}` with each push.
 */
export function startPushes(api: Api, registration: ServiceWorkerRegistration): Promise<void>;

/** Have this browser take no more pushes, for anybody. Rejects if it may still take some. */
export function endPushes(api: Api, registration: ServiceWorkerRegistration): Promise<void>;
