import { notFound, redirect } from "next/navigation";
import { Conversation } from "@/components/conversation";
import { getUser } from "@/lib/session";

export default async function Page({ params }: { params: Promise<{ id: string }> }) {
	const [user, { id }] = await Promise.all([getUser(), params]);
	if (!user) redirect("/");
	if (!/^\d+$/.test(id)) notFound();
	return <Conversation key={id} user={user} conversationId={Number(id)} />;
}
