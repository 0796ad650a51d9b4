/** What a mentor was told about a student when they were assigned, above the messages. Students never get it. */

import { fetchHandoffNote } from "./client.js";
import { $, setText } from "./elements.js";

export function createHandoffNote() {
	const notes = new Map(); // conversation id -> the note, or what it will be
	let shown = 0; // the conversation whose note is wanted; 0: none
	let unsubscribe;

	async function show(id) {
		if (!notes.has(id)) notes.set(id, fetchHandoffNote(id));
		const { text } = await notes.get(id).catch(() => notes.delete(id) && { text: "" });
		if (shown !== id) return;
		setText($("handoff-text"), text);
		$("handoff").hidden = !text;
	}

	function close() {
		unsubscribe?.();
		shown = 0;
		$("handoff").hidden = true;
		setText($("handoff-text"), "");
	}

	return {
		/** Show the note as soon as this chat is loaded: then the conversation is known to be the mentor's. */
		open(chat, id) {
			close();
			shown = id;
			const check = () => {
				if (shown !== id || !chat.getSnapshot().isLoaded) return;
				unsubscribe();
				show(id);
			};
			unsubscribe = chat.subscribe(check);
			check();
		},
		close,
		/** Forget all notes, for the next user. */
		forget() {
			close();
			notes.clear();
		},
	};
}
