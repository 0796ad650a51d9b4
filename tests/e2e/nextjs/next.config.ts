import type { NextConfig } from "next";

const config: NextConfig = {
	reactStrictMode: true,
	// Django's paths end in a slash: Next.js would redirect to the path without, and Django back to the one with it.
	skipTrailingSlashRedirect: true,
	// The backend's REST under our own origin, so that its cookies are ours. `:path*` never ends in a slash.
	rewrites: async () => [{ source: "/api/v1/:path*", destination: `${process.env.CHAT_BACKEND_URL}/api/v1/:path*/` }],
};

export default config;
