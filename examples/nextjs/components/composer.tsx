"use client";

import { type KeyboardEvent, type SyntheticEvent, useState, useSyncExternalStore } from "react";
import { keepDraft, readDraft } from "@/lib/qader/client";

interface Properties {
	/** Where the draft is kept, see `draftKey`. */
	draft: string;
	/** What there is to say about sending. */
	note: string;
	onSend: (text: string) => boolean;
	onTyping: (isTyping: boolean) => void;
}

const UNKEPT = "Your browser cannot keep this text: send it before you leave.";
const never = () => () => {};

/** Also works without a connection: the message is sent once there is one, even after a reload. */
export function Composer({ draft, note, onSend, onTyping }: Properties) {
	const stored = useSyncExternalStore(
		never,
		() => readDraft(draft),
		() => "", // a server knows no drafts
	);
	const [written, setWritten] = useState<string | null>(null);
	const [isKept, setIsKept] = useState(true);
	const text = written ?? stored;

	function write(newText: string) {
		setWritten(newText);
		setIsKept(keepDraft(draft, newText));
	}

	function send(event: SyntheticEvent) {
		event.preventDefault();
		if (onSend(text)) write("");
	}

	function sendByEnter(event: KeyboardEvent) {
		// Safari ends a composition before the Enter that chose the word: only the code 229 tells.
		const isComposing = event.nativeEvent.isComposing || event.keyCode === 229;
		if (event.key === "Enter" && !event.shiftKey && !isComposing) send(event);
	}

	return (
		<form className="composer" onSubmit={send}>
			<p aria-live="polite">{text && !isKept ? UNKEPT : note}</p>
			<textarea
				aria-label="Message"
				placeholder="Message"
				dir="auto"
				rows={2}
				value={text}
				onChange={(event) => {
					write(event.target.value);
					onTyping(event.target.value !== "");
				}}
				onKeyDown={sendByEnter}
			/>
			<button type="submit">Send</button>
		</form>
	);
}
