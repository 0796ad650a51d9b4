/** A proxy between client and server, as a network that a test can cut, stall and mend. */

import { once } from "node:events";
import { connect, createServer } from "node:net";

export class TcpProxy {
	#server;
	#pairs = new Set();
	#stalled = false;

	constructor(target) {
		this.target = target;
	}

	get url() {
		return `http://127.0.0.1:${this.port}`;
	}

	async start() {
		this.#server = createServer((near) => this.#join(near)).listen(this.port ?? 0, "127.0.0.1");
		await once(this.#server, "listening");
		this.port = this.#server.address().port;
		return this;
	}

	#join(near) {
		const far = connect(this.target, "127.0.0.1");
		const pair = [near, far];
		this.#pairs.add(pair);
		for (const [from, to] of [pair, [far, near]]) {
			from.on("data", (bytes) => this.#stalled || to.write(bytes)); // a stall loses bytes
			from.on("error", () => {});
			from.on("close", () => {
				to.destroy();
				this.#pairs.delete(pair);
			});
		}
	}

	/** End all connections at once; new ones work. */
	cut() {
		for (const [near] of this.#pairs) near.destroy();
	}

	/** Lose all bytes in both directions; connections stay open. */
	stall() {
		this.#stalled = true;
	}

	/** End a stall. Open connections have lost bytes, so they are cut. */
	mend() {
		this.#stalled = false;
		this.cut();
	}

	/** End all connections and refuse new ones, until `start`. */
	async stop() {
		if (!this.#server.listening) return;
		const closed = once(this.#server, "close");
		this.#server.close();
		this.cut();
		await closed;
	}
}
