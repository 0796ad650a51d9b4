/** The client as React hooks. use-chat.d.ts describes them. */

import { createChat, createInbox } from "./client.js";

export function createUseChat(react) {
	function useStore(create, options = {}) {
		const { baseUrl, socketUrl, conversationId, user } = options;
		// Only these options make a new store. As `react.useMemo`, so that no application's linter asks for the others.
		const store = react.useMemo(() => create(options), [create, baseUrl, socketUrl, conversationId, user?.id]);
		react.useEffect(() => {
			store.open();
			return store.close;
		}, [store]);
		const snapshot = react.useSyncExternalStore(store.subscribe, store.getSnapshot, store.getSnapshot);
		return { ...store, ...snapshot };
	}

	return {
		useChat: (options) => useStore(createChat, options),
		useInbox: (options) => useStore(createInbox, options),
	};
}
