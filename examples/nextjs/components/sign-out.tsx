"use client";

import { useTransition } from "react";
import { api } from "@/lib/chat";
import { listUnsent, type Me } from "@/lib/qader/client";

/** Ends the session. The backend closes its sockets in every tab, and each tab shows the sign-in. */
export function SignOut({ user }: { user: Me }) {
	const [isPending, startTransition] = useTransition();

	function signOut() {
		const unsent = listUnsent(user).map(({ content }) => content);
		if (unsent.length && !confirm(`Not sent yet, and deleted with the sign-out:\n${unsent.join("\n")}`)) return;
		startTransition(async () => {
			await api.logout();
			window.location.reload(); // a new document: Next.js keeps the last pages, hidden, with their texts
		});
	}

	return (
		<button type="button" onClick={signOut} disabled={isPending}>
			Sign out
		</button>
	);
}
