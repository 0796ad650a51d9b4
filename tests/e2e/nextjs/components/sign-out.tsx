"use client";

import { useRouter } from "next/navigation";
import { useTransition } from "react";
import { api } from "@/lib/chat";

/** Ends the session. The backend closes its sockets in every tab, and each tab shows the sign-in. */
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
