"use client";

import { useState, useTransition } from "react";
import { api } from "@/lib/chat";
import { listUnsent, type Me } from "@/lib/qader/client";

/** Ends the session. The backend closes its sockets in every tab, and each tab shows the sign-in. */
export function SignOut({ user }: { user: Me }) {
	const [isPending, startTransition] = useTransition();
	const [problem, setProblem] = useState("");

	function signOut() {
		const unsent = listUnsent(user).map(({ content }) => content);
		if (unsent.length && !confirm(`Not sent yet, and deleted with the sign-out:\n${unsent.join("\n")}`)) return;
		startTransition(async () => {
			try {
				await api.logout();
			} catch {
				return setProblem("The chat cannot be reached: you are still signed in.");
			}
			window.location.reload(); // a new document: Next.js keeps the last pages, hidden, with their texts
		});
	}

	return (
		<>
			<span role="alert">{problem}</span>
			<button type="button" onClick={signOut} disabled={isPending}>
				Sign out
			</button>
		</>
	);
}
