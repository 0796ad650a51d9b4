// The chat as one would write it beside a Next.js frontend: Socket.IO with its Redis adapter, and node-postgres.
// Usage: node socketio.mjs PORT, with DATABASE_URL and REDIS_URL.
import { createServer } from "node:http";
import { createAdapter } from "@socket.io/redis-adapter";
import pg from "pg";
import { createClient } from "redis";
import { Server } from "socket.io";

const database = new pg.Pool({ connectionString: process.env.DATABASE_URL });
const publisher = createClient({ url: process.env.REDIS_URL });
const subscriber = publisher.duplicate();
await publisher.connect();
await subscriber.connect();

const http = createServer();
const io = new Server(http, { adapter: createAdapter(publisher, subscriber), transports: ["websocket"] });

async function one(query, values) {
	return (await database.query(query, values)).rows[0];
}

// Who is asking, and may they enter this conversation?
io.use(async (socket, next) => {
	const key = /\bsessionid=(\w+)/.exec(socket.handshake.headers.cookie ?? "")?.[1];
	const person = await one(
		"SELECT person.id, username, email, full_name, role FROM peer_session JOIN peer_person person ON person.id = person_id" +
			" WHERE key = $1 AND expires_at > now()",
		[key],
	);
	const conversation =
		person &&
		(await one("SELECT id FROM peer_conversation WHERE id = $1 AND $2 IN (student_id, teacher_id)", [
			socket.handshake.auth.conversation,
			person.id,
		]));
	if (!conversation) return next(new Error("forbidden"));
	socket.data = { person, conversation: conversation.id, room: `chat_${conversation.id}` };
	next();
});

async function store(conversation, sender, content) {
	const client = await database.connect();
	try {
		await client.query("BEGIN");
		const inserted = await client.query(
			"INSERT INTO peer_message (conversation_id, sender_id, content, sent_at, is_read)" +
				" VALUES ($1, $2, $3, now(), false) RETURNING id, sent_at",
			[conversation, sender, content],
		);
		await client.query("UPDATE peer_conversation SET updated_at = now() WHERE id = $1", [conversation]);
		await client.query("COMMIT");
		return inserted.rows[0];
	} catch (error) {
		await client.query("ROLLBACK");
		throw error;
	} finally {
		client.release();
	}
}

io.on("connection", async (socket) => {
	const { person, conversation, room } = socket.data;
	socket.on("message", async ({ message }) => {
		if (typeof message !== "string" || !message.trim()) return socket.emit("failed", { error: "empty_message" });
		const { id, sent_at } = await store(conversation, person.id, message);
		io.to(room).emit("new_message", {
			message: { id, sender: person.id, sender_profile: person, content: message, timestamp: sent_at, is_read: false },
		});
	});
	await database.query(
		"UPDATE peer_message SET is_read = true WHERE conversation_id = $1 AND sender_id <> $2 AND NOT is_read",
		[conversation, person.id],
	);
	await socket.join(room);
	socket.emit("connection_established", { conversation_id: String(conversation), room_group_name: room });
});

http.listen(Number(process.argv[2]), "127.0.0.1");
process.on("SIGTERM", () => process.exit(0));
