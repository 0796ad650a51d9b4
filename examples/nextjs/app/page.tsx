import { redirect } from "next/navigation";
import { Conversation } from "@/components/conversation";
import { Header } from "@/components/header";
import { SignIn } from "@/components/sign-in";
import { getUser } from "@/lib/session";

export default async function Page() {
	const user = await getUser();
	if (!user) return <SignIn />;
	if (user.profile?.role !== "STUDENT") redirect("/conversations");
	return (
		<>
			<Header user={user} />
			<Conversation user={user} />
		</>
	);
}
