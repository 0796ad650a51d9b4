/** A student's conversations with former mentors: links in the menu. `#/former/7` is the address of one. */

import { listFormer } from "./client.js";
import { $, nameOf } from "./elements.js";

/** Calls `changed` when the list has been fetched. */
export function createFormer(changed) {
	const conversations = new Map(); // by id
	let turn = 0; // changes with whoever is signed in

	async function open() {
		const mine = ++turn;
		const found = await listFormer().catch(() => []); // the next sign-in or reload tries again
		if (mine !== turn) return;
		for (const conversation of found) if (conversation.last_message) conversations.set(conversation.id, conversation);
		show();
		changed();
	}

	function show() {
		$("former").hidden = !conversations.size;
		$("former-list").replaceChildren(...[...conversations.values()].map(itemOf));
	}

	function itemOf({ id, teacher_profile: mentor }) {
		const item = document.createElement("li");
		const link = document.createElement("a");
		const name = document.createElement("bdi");
		link.href = `#/former/${id}`;
		name.textContent = nameOf(mentor);
		name.translate = false;
		link.append(name);
		item.append(link);
		return item;
	}

	return {
		open,
		close() {
			turn += 1;
			conversations.clear();
			show();
		},
		get: (id) => conversations.get(id),
		/** The id of the conversation that an address names, or 0. */
		idIn(hash) {
			const id = Number(hash.match(/^#\/former\/(\d+)$/)?.[1] ?? 0);
			return conversations.has(id) ? id : 0;
		},
	};
}
