/** The client as React hooks. use-chat.d.ts describes them. */

import { createChat, createInbox } from "./client.js";

export function createUseChat({ useEffect, useMemo, useSyncExternalStore }) {
	function useStore(create, options = {}) {
		const { baseUrl, socketUrl, conversationId, user } = options;
		const store = useMemo(() => create(options), [create, baseUrl, socketUrl, conversationId, user?.id]);
		useEffect(() => {
			store.open();
			return store.close;
		}, [store]);
		const snapshot = useSyncExternalStore(store.subscribe, store.getSnapshot, store.getSnapshot);
		return { ...store, ...snapshot };
	}

	return {
		useChat: (options) => useStore(createChat, options),
		useInbox: (options) => useStore(createInbox, options),
	};
}
