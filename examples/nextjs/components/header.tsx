import type { Me } from "@/lib/qader/client";
import { SignOut } from "./sign-out";

export function Header({ user }: { user: Me }) {
	return (
		<header>
			<strong dir="auto">{user.profile?.full_name ?? user.username}</strong>
			<SignOut user={user} />
		</header>
	);
}
