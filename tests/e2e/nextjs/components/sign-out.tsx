"use client";

import { useRouter } from "next/navigation";
import { useTransition } from "react";
import { api } from "@/lib/chat";

/** Ends the session, whose sockets the backend closes in every tab; each tab then shows the sign-in. */
export function SignOut() {
	const router = useRouter();
	const [isPending, startTransition] = useTransition();

	const signOut = () =>
		startTransition(async () => {
			await api.logout();
			router.refresh();
		});

	return (
		<button type="button" onClick={signOut} disabled={isPending}>
			Sign out
		</button>
	);
}
