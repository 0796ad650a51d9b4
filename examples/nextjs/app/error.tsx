"use client";

/** The backend did not answer `getUser`. */
export default function Unreachable({ retry }: { retry: () => void }) {
	return (
		<main className="hint">
			<p role="alert">The chat cannot be reached.</p>
			<button type="button" onClick={retry}>
				Try again
			</button>
		</main>
	);
}
