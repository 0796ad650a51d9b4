export default function Page() {
	return <main className="hint">Choose a student.</main>;
}
