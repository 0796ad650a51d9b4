import type { NextConfig } from "next";

const nextConfig: NextConfig = {
	cacheComponents: true,
	partialPrefetching: true,
	// Django's paths end in a slash: Next.js would redirect to the path without, and Django back to the one with it.
	skipTrailingSlashRedirect: true,
	// The backend's REST under our own origin, so that its cookies are ours. `:path*` never ends in a slash.
	rewrites: async () => {
		const { CHAT_BACKEND_URL: backend, NEXT_PUBLIC_CHAT_SOCKET_URL: sockets } = process.env;
		if (!backend) throw new Error("CHAT_BACKEND_URL is not set: the backend's origin, as Next.js reaches it.");
		if (sockets === undefined)
			throw new Error("NEXT_PUBLIC_CHAT_SOCKET_URL is not set: the backend's origin, as browsers reach it.");
		return [{ source: "/api/v1/:path*", destination: `${new URL(backend).origin}/api/v1/:path*/` }];
	},
};

export default nextConfig;
