"use client";

import { useRouter } from "next/navigation";
import { useEffect } from "react";
import type { ConnectionSnapshot } from "@/lib/qader/client";
import { connectionInWords } from "@/lib/words";

/** The state of the connection, in words. When the session has ended, the server renders the page again. */
export function Connection({ of }: { of: ConnectionSnapshot & { open: () => void } }) {
	const router = useRouter();
	const isSignedOut = of.reason === "signed_out";

	useEffect(() => {
		if (isSignedOut) router.refresh();
	}, [isSignedOut, router]);

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
