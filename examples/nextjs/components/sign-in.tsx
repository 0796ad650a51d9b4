"use client";

import { useRouter } from "next/navigation";
import { useActionState } from "react";
import { api } from "@/lib/chat";
import { ApiError } from "@/lib/qader/client";
import { signInErrorInWords } from "@/lib/words";

interface Failure {
	username: string;
	problem: string;
}

/** `api.login` fetches the CSRF token by itself. The rewrites make the cookies those of our own origin. */
export function SignIn() {
	const router = useRouter();

	async function signIn(_: Failure | null, form: FormData): Promise<Failure | null> {
		const username = String(form.get("username"));
		try {
			await api.login(username, String(form.get("password")));
		} catch (error) {
			if (!(error instanceof ApiError)) throw error;
			if (error.code === "csrf_failed")
				console.error(`Refused. Is ${window.location.origin} in the backend's CSRF_TRUSTED_ORIGINS?`);
			return { username, problem: signInErrorInWords(error) };
		}
		router.refresh(); // the server renders the page again, with the new cookie
		return null;
	}

	const [failure, action, isPending] = useActionState(signIn, null);
	return (
		<main className="sign-in">
			<h1>Qader</h1>
			<form action={action}>
				<label>
					User name or e-mail
					<input name="username" autoComplete="username" defaultValue={failure?.username} required />
				</label>
				<label>
					Password
					<input name="password" type="password" autoComplete="current-password" required />
				</label>
				<button type="submit" disabled={isPending}>
					Sign in
				</button>
				<p role="alert">{failure?.problem}</p>
			</form>
		</main>
	);
}
