"use client";

import { useRouter } from "next/navigation";
import { useEffect } from "react";
import type { ConnectionSnapshot } from "@/lib/qader/client";
import { connectionInWords } from "@/lib/words";

/** The state of the connection, in words. When the session has ended, the server decides what is shown. */
export function Connection({ of }: { of: ConnectionSnapshot & { open: () => void } }) {
	const router = useRouter();
	const { isLoaded, reason } = of;
	const isSignedOut = reason === "signed_out";

	useEffect(() => {
		if (!isSignedOut) return;
		// A new document: Next.js keeps the last pages, hidden, with their texts.
		if (isLoaded) window.location.reload();
		// The session had ended before this page was rendered: a new document might come here again, and again.
		else router.refresh();
	}, [isSignedOut, isLoaded, router]);

	return (
		<p role="status" className={`connection ${of.status}`}>
			{connectionInWords(of)}
			{of.status === "stopped" && (
				<button type="button" onClick={of.open}>
					Try again
				</button>
			)}
		</p>
	);
}
