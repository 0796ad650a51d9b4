/**
 * The client as React hooks. They take React from their host, so that there is one React whatever the bundler does.
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
 * A component that uses one is connected while it is mounted. On a server, and until it has mounted, it sees the empty
 * snapshot: `isLoaded` is false.
 */

import type { Chat, ChatOptions, ChatSnapshot, Inbox, InboxSnapshot, Known, Options } from "./client.js";

/** What is used of React, 18 or newer. */
export interface ReactLike {
	useEffect(effect: () => () => void, dependencies: readonly unknown[]): void;
	useMemo<T>(create: () => T, dependencies: readonly unknown[]): T;
	useSyncExternalStore<T>(subscribe: (listener: () => void) => () => void, get: () => T, getOnServer: () => T): T;
}

export interface Hooks {
	/**
	 * One conversation: all of its snapshot and of its functions. Another `conversationId`, `user` (by its id), `baseUrl` or
	 * `socketUrl` is another chat; other options count when it begins.
	 */
	useChat(options?: ChatOptions): ChatSnapshot & Chat;
	/** All conversations, in the same way. */
	useInbox(options?: Options & Known): InboxSnapshot & Inbox;
}

export function createUseChat(react: ReactLike): Hooks;
