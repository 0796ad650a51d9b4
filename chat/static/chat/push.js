/** Web Push in a browser: has it take pushes, and end them. `push.d.ts` documents it. */

const PATH = "notify/subscriptions/";

export async function startPushes(api, registration) {
	const { public_key } = await api.get("notify/push-key/");
	const ask = { userVisibleOnly: true, applicationServerKey: public_key };
	const old = await registration.pushManager.getSubscription();
	const subscription = await registration.pushManager.subscribe(ask).catch(async (error) => {
		if (!old) throw error;
		await old.unsubscribe(); // it was made for another key
		return registration.pushManager.subscribe(ask);
	});
	await api.post(PATH, subscription.toJSON());
}

export async function endPushes(api, registration) {
	const subscription = await registration.pushManager.getSubscription();
	if (!subscription) return;
	const hasEnded = await subscription.unsubscribe().catch(() => false);
	await api.send("DELETE", PATH, { endpoint: subscription.endpoint }).catch((error) => {
		if (!hasEnded) throw error; // otherwise the server learns it at the next push
	});
}
