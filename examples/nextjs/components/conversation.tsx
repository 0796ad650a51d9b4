"use client";

import { useRef } from "react";
import { backend, useChat } from "@/lib/chat";
import { type ChatSnapshot, draftKey, type Me } from "@/lib/qader/client";
import { closedInWords, sendingInWords } from "@/lib/words";
import { Composer } from "./composer";
import { Connection } from "./connection";
import { Message } from "./message";

/** A student's conversation, or with `conversationId` one of a mentor's. */
export function Conversation({ user, conversationId }: { user: Me; conversationId?: number }) {
	const chat = useChat({ ...backend, user, conversationId });
	const { conversation, messages, hasOlder, isLoadingOlder, isLoaded } = chat;
	const scroller = useRef<HTMLDivElement>(null);
	const closed = closedInWords(chat.user ?? user, conversation);
	const other = conversationId ? conversation?.student_profile : conversation?.teacher_profile;

	function send(text: string): boolean {
		const isSent = chat.send(text) !== null;
		if (isSent) scroller.current?.scrollTo(0, 0); // the newest message is there, see globals.css
		return isSent;
	}

	return (
		<main className="conversation">
			<div className="about">
				<h1 dir="auto">{other?.full_name}</h1>
				<p className="presence">{whereabouts(chat)}</p>
				<Connection of={chat} />
			</div>
			<div className="scroller" ref={scroller}>
				<ol aria-live="polite" aria-label="Messages" aria-busy={!isLoaded}>
					{messages.map((message) => (
						<Message
							key={message.key}
							message={message}
							onVisible={chat.markVisible}
							onRetry={chat.retry}
							onDiscard={chat.discard}
						/>
					))}
				</ol>
				{hasOlder && (
					<button type="button" onClick={() => void chat.loadOlder().catch(() => {})} disabled={isLoadingOlder}>
						Load older messages
					</button>
				)}
			</div>
			{closed ? (
				<p className="hint">{closed}</p>
			) : (
				<Composer
					draft={draftKey(user, conversationId ?? 0)} // 0: a student has only one
					note={sendingInWords(chat)}
					onSend={send}
					onTyping={chat.setTyping}
				/>
			)}
		</main>
	);
}

function whereabouts({ typing, presence }: ChatSnapshot): string {
	if (typing) return "typing…";
	if (!presence) return "";
	if (presence.is_online) return "online";
	return presence.last_seen ? `last seen ${new Date(presence.last_seen).toLocaleString()}` : "";
}
