"use client";

import { type KeyboardEvent, type SyntheticEvent, useState } from "react";

interface Properties {
	onSend: (text: string) => boolean;
	onTyping: (isTyping: boolean) => void;
}

/** Also works without a connection: the message is sent once there is one, even after a reload. */
export function Composer({ onSend, onTyping }: Properties) {
	const [text, setText] = useState("");

	function write(newText: string) {
		setText(newText);
		onTyping(newText !== "");
	}

	function send(event: SyntheticEvent) {
		event.preventDefault();
		if (onSend(text)) setText("");
	}

	function sendByEnter(event: KeyboardEvent) {
		if (event.key === "Enter" && !event.shiftKey && !event.nativeEvent.isComposing) send(event);
	}

	return (
		<form className="composer" onSubmit={send}>
			<textarea
				aria-label="Message"
				placeholder="Message"
				dir="auto"
				rows={2}
				value={text}
				onChange={(event) => write(event.target.value)}
				onKeyDown={sendByEnter}
			/>
			<button type="submit">Send</button>
		</form>
	);
}
