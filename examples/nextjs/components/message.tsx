"use client";

import { useEffect, useRef } from "react";
import type { ChatMessage } from "@/lib/qader/client";
import { sendErrorInWords } from "@/lib/words";

interface Properties {
	message: ChatMessage;
	onVisible: (messageId: number | null) => void;
	onRetry: (clientId: string) => void;
	onDiscard: (clientId: string) => void;
}

export function Message({ message, onVisible, onRetry, onDiscard }: Properties) {
	const { id, clientId, content, timestamp, state, error } = message;
	const element = useRef<HTMLLIElement>(null);
	const isUnread = state === "received" && !message.is_read;

	useEffect(() => {
		if (!element.current || !isUnread) return;
		const observer = new IntersectionObserver(([entry]) => {
			if (entry?.isIntersecting) onVisible(id);
		});
		observer.observe(element.current);
		return () => observer.disconnect();
	}, [id, isUnread, onVisible]);

	return (
		<li ref={element} className={state}>
			<p dir="auto">{message.is_erased ? <em>This message was erased.</em> : content}</p>
			<footer>
				<time dateTime={timestamp}>{new Date(timestamp).toLocaleTimeString([], { timeStyle: "short" })}</time>
				{state !== "received" && <span> · {state}</span>}
			</footer>
			{error && clientId && (
				<div role="alert">
					{sendErrorInWords(error)}{" "}
					<button type="button" onClick={() => onRetry(clientId)}>
						Retry
					</button>{" "}
					<button type="button" onClick={() => onDiscard(clientId)}>
						Discard
					</button>
				</div>
			)}
		</li>
	);
}
