"use client";

import * as React from "react";
import { createApi } from "./qader/client";
import { createUseChat } from "./qader/use-chat";

/** The backend's origins for browsers: of REST and of sockets. Undefined means this page's own origin. */
export const backend = {
	baseUrl: process.env.NEXT_PUBLIC_CHAT_BASE_URL,
	socketUrl: process.env.NEXT_PUBLIC_CHAT_SOCKET_URL,
};
export const api = createApi(backend);
export const { useChat, useInbox } = createUseChat(React);
