"use client";

import * as React from "react";
import { createApi } from "./qader/client";
import { createUseChat } from "./qader/use-chat";

/** The backend's origins for browsers: of REST, by default this page's own, and of sockets, by default that of REST. */
export const backend = {
	baseUrl: process.env.NEXT_PUBLIC_CHAT_BASE_URL,
	socketUrl: process.env.NEXT_PUBLIC_CHAT_SOCKET_URL,
};
export const api = createApi(backend);
export const { useChat, useInbox } = createUseChat(React);
