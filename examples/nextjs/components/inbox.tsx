"use client";

import Link from "next/link";
import { useParams } from "next/navigation";
import { backend, useInbox } from "@/lib/chat";
import type { Me } from "@/lib/qader/client";
import { Connection } from "./connection";

/** A mentor's students, newest activity first. */
export function Inbox({ user }: { user: Me }) {
	const inbox = useInbox({ ...backend, user });
	const { id: current } = useParams<{ id?: string }>();

	return (
		<nav aria-label="Students" aria-busy={!inbox.isLoaded}>
			<Connection of={inbox} />
			<ul>
				{inbox.conversations.map(({ id, student_profile, last_message, unread_message_count_for_user: unread }) => (
					<li key={id}>
						<Link
							href={`/conversations/${id}`}
							prefetch={false}
							aria-current={current === `${id}` ? "page" : undefined}
						>
							<strong dir="auto">{student_profile.full_name || "Erased person"}</strong>
							{unread > 0 && <span className="unread">{unread}</span>}
							<span className="last" dir="auto">
								{last_message?.is_erased ? "This message was erased." : last_message?.content}
							</span>
						</Link>
					</li>
				))}
			</ul>
		</nav>
	);
}
