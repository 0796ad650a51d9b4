/**
 * The client as React hooks. The application passes its React, so that there is only one, whatever the bundler does.
 *
 * ```js
 * // lib/chat.js of a Next.js application
 * "use client";
 * import * as React from "react";
 * import { createUseChat } from "./use-chat.js";
 *
 * export const { useChat, useInbox } = createUseChat(React);
 * ```
 *
 * ```jsx
 * const { status, messages, send, markVisible } = useChat({ user, conversationId });
 * ```
 *
 * A component that uses a hook is connected while it is mounted. On a server, and before it is mounted, it gets the
 * empty snapshot, in which `isLoaded` is false.
 */

import type { Chat, ChatOptions, ChatSnapshot, Inbox, InboxSnapshot, Known, Options } from "./client.js";

/** The part of React (18 or newer) that the hooks use. */
export interface ReactLike {
	useEffect(effect: () => () => void, dependencies: readonly unknown[]): void;
	useMemo<T>(create: () => T, dependencies: readonly unknown[]): T;
	useSyncExternalStore<T>(subscribe: (listener: () => void) => () => void, get: () => T, getOnServer: () => T): T;
}

export interface Hooks {
	/**
	 * The snapshot and the functions of one conversation. When `conversationId`, `user.id`, `baseUrl` or `socketUrl`
	 * changes, a new chat is made; changes of other options are ignored.
	 */
	useChat(options?: ChatOptions): ChatSnapshot & Chat;
	/** The same for all conversations. */
	useInbox(options?: Options & Known): InboxSnapshot & Inbox;
}

export function createUseChat(react: ReactLike): Hooks;
