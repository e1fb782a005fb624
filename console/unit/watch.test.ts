import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { watch } from "../../server/watch.js";

class Socket {
	static OPEN = 1;
	static all: Socket[] = [];
	readyState = 0;
	sent: any[] = [];
	onopen = () => {};
	onclose = () => {};
	onmessage = (_: { data: string }) => {};
	constructor() {
		Socket.all.push(this);
	}
	send(text: string) {
		this.sent.push(JSON.parse(text));
	}
	close() {}
	tell(...messages: object[]) {
		for (const m of messages) this.onmessage({ data: JSON.stringify(m) });
	}
}

/** The next connection, once it is open. */
function connection(): Socket {
	vi.advanceTimersByTime(15_000);
	const s = Socket.all.at(-1)!;
	s.readyState = 1;
	s.onopen();
	return s;
}

beforeEach(() => {
	vi.useFakeTimers();
	vi.stubGlobal("WebSocket", Socket);
	Socket.all = [];
});
afterEach(() => {
	vi.unstubAllGlobals();
	vi.useRealTimers();
});

const job = (id: string, version: number, state = "ready") => ({ type: "job", job: { id, version, state } });

describe("watch", () => {
	it("notes a time of a filter that was told from the begin on this connection, and no other", () => {
		const w = watch({ url: "http://localhost/" });
		w.match("x", "kind:x");
		const since: unknown[] = [];
		for (const told of [
			[{ type: "pong", time: "9" }],
			[{ type: "synced", sub: "x", time: "1" }, { type: "pong", time: "2" }, { type: "pong" }],
			[{ type: "pong", time: "9" }],
			[],
		]) {
			const s = connection();
			since.push(s.sent[0].since);
			s.tell(...told);
			s.onclose();
		}
		expect(since).toEqual([undefined, undefined, "2", "2"]);
		w.close();
	});

	it("forgets an end that it follows and that a filter has told before", () => {
		const w = watch({ url: "http://localhost/" });
		w.match("x", "kind:x");
		let s = connection();
		s.tell(job("a", 1), job("b", 1));
		w.follow("a", 1);
		s.tell(job("a", 2));
		s.onclose();
		s = connection();
		expect(s.sent).toMatchObject([{ jobs: [{ id: "a", version: 2 }] }, { sub: "x", jobs: [{ id: "a", version: 2 }, { id: "b", version: 1 }] }]);
		s.tell(job("a", 3, "succeeded"));
		s.onclose();
		expect(connection().sent).toMatchObject([{ sub: "x", jobs: [{ id: "b", version: 1 }] }]);
		w.close();
	});
});
