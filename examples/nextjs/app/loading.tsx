/** Shown until the backend has said who is signed in. Next.js builds it ahead; the rest is rendered for each request. */
export default function Loading() {
	return <main className="hint">Loading…</main>;
}
