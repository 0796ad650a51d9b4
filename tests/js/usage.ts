/** Uses the whole API once. `tsc --strict` compiles it; it never runs. */

import * as React from "react";
import {
	ApiError,
	type ChatMessage,
	type Conversation,
	createApi,
	createChat,
	createFormerChat,
	createInbox,
	draftKey,
	fetchHandoffNote,
	type Kept,
	keepDraft,
	listFormer,
	listUnsent,
	type Reason,
	readDraft,
} from "../../chat/static/chat/client.js";
import { createUseChat } from "../../chat/static/chat/use-chat.js";

const words: Record<Reason, string> = {
	signed_out: "",
	no_mentor: "",
	not_allowed: "",
	closed: "",
	offline: "",
	unavailable: "",
	too_many: "",
	blocked: "",
};

export async function signIn(): Promise<string> {
	const api = createApi();
	try {
		const user = await api.login("student1", "secret");
		return user.profile?.full_name ?? user.username;
	} catch (error) {
		if (error instanceof ApiError) return `${error.status} ${error.code} ${error.retryAfter}`;
		throw error;
	}
}

export async function signOut(): Promise<string[]> {
	const api = createApi();
	const unsent = listUnsent(await api.me()).map(({ conversationId, content }) => `${conversationId}: ${content}`);
	await api.logout();
	return unsent;
}

export const handoffNote = async (conversationId: number): Promise<string> => {
	const { text, created_at } = await fetchHandoffNote(conversationId);
	return `${created_at ?? ""} ${text}`;
};

export async function formerMentors(): Promise<string[]> {
	const user = await createApi().me();
	const [first] = await listFormer();
	if (!first) return [];
	const chat = createFormerChat({ user, conversation: first });
	chat.open();
	await chat.loadOlder();
	return chat.getSnapshot().messages.map(({ content, error }) => error ?? content);
}

export const students = async (): Promise<Conversation[]> =>
	(
		await createApi({ baseUrl: "https://chat.example.org" }).get<{ results: Conversation[] }>(
			"chat/teacher/conversations/",
		)
	).results;

export function show(): () => void {
	const chat = createChat({ conversationId: 7, socketUrl: "wss://chat.example.org", storage: null });
	const unsubscribe = chat.subscribe(() => {
		const { messages, status, reason, presence, retryAt } = chat.getSnapshot();
		const last: ChatMessage | undefined = messages.at(-1);
		if (last?.state === "failed" && last.clientId) chat.retry(last.clientId);
		if (last?.state === "received") chat.markVisible(last.id);
		document.title = `${status} ${reason && words[reason]} ${presence?.last_seen} ${retryAt ?? 0}`;
	});
	chat.open();
	const clientId: string | null = chat.send("text");
	if (clientId) chat.discard(clientId);
	chat.setTyping(true);
	void chat.loadOlder();
	void chat.report(7, "why").then(({ id, state }) => `${id} ${state}`);
	return () => {
		unsubscribe();
		chat.close();
	};
}

export async function draft(text: string): Promise<string> {
	const key = draftKey(await createApi().me(), 7);
	const isKept: boolean = keepDraft(key, text) && createChat().getSnapshot().isKept;
	const { draft, sending, failed }: Kept = createInbox().getSnapshot().kept.get(7) ?? {
		draft: "",
		sending: 0,
		failed: 0,
	};
	return `${readDraft(key)} ${draft} ${sending + failed} ${isKept}`;
}

export const unread = (): number => createInbox().getSnapshot().unreadTotal;

export const inANode = (): void => createChat({ WebSocket, fetch, window, document, storage: localStorage }).open();

const { useChat, useInbox } = createUseChat(React);

export function Component(properties: { conversationId: number }): string {
	const { messages, send, loadOlder } = useChat(properties);
	const { conversations, done } = useInbox();
	React.useEffect(() => void loadOlder(), [loadOlder]);
	React.useCallback(() => send("text"), [send]);
	const waiting = conversations.find(({ waiting_since }) => waiting_since !== null);
	React.useCallback(() => waiting && done(waiting.id), [waiting, done]);
	// @ts-expect-error a snapshot does not change
	messages.push(messages[0]);
	return `${conversations.length}`;
}
