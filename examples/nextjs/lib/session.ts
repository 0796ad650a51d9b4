import { cookies } from "next/headers";
import { cache } from "react";
import type { Me } from "./qader/client";

/** Who is signed in, or null; for server components, which ask the backend with the cookies of their own request. */
export const getUser = cache(async (): Promise<Me | null> => {
	const mine = await cookies();
	if (!mine.has("sessionid")) return null;
	const backend = process.env.CHAT_BACKEND_URL;
	if (!backend) throw new Error("CHAT_BACKEND_URL is not set: `next start` needs it, too.");
	const answer = await fetch(new URL("/api/v1/auth/me/", backend), {
		headers: { Cookie: mine.toString() },
		cache: "no-store",
		signal: AbortSignal.timeout(5_000),
	});
	if (answer.status === 401) return null;
	if (!answer.ok) throw new Error(`auth/me/ answered ${answer.status}`);
	return answer.json();
});
