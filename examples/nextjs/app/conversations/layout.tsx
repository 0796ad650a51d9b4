import { redirect } from "next/navigation";
import type { ReactNode } from "react";
import { Header } from "@/components/header";
import { Inbox } from "@/components/inbox";
import { getUser } from "@/lib/session";

/** A mentor's page: the list stays connected while the conversation beside it changes. */
export default async function Layout({ children }: { children: ReactNode }) {
	const user = await getUser();
	if (!user) redirect("/");
	return (
		<>
			<Header user={user} />
			<div className="columns">
				<Inbox user={user} />
				{children}
			</div>
		</>
	);
}
