// Follows jobs of an errand server from a browser, or from any JavaScript that has WebSocket. No dependency.
//
//	import { watch } from "/api/v1/watch.js";
//	const w = watch({ onJob: (job) => …, onGone: (id) => … });
//	w.follow(id);                                  // until it has ended
//	w.match("failed", "state:failed kind:mail*");  // and what comes to match, until w.unmatch("failed")
//	w.close();
//
// It connects again by itself, with growing pauses, and says what it has seen: each job is told as it is now whenever that
// differs, so that an outage of any length, of the client, the network or the server, costs no end of a job.

const minPause = 250, maxPause = 15000, silence = 60000;

// A subprotocol has letters, digits and some signs in it, and no others.
const escape = (token) => encodeURIComponent(token).replace(/[()]/g, (c) => "%" + c.charCodeAt(0).toString(16));

/**
 * @param {object} options
 * @param {string} [options.url]       of the server's /api/v1/watch; default: the page's own server
 * @param {string} [options.token]     a bearer token, where the browser does not send credentials by itself
 * @param {(job: object) => void} [options.onJob]     the job as it is now
 * @param {(id: string) => void} [options.onGone]     there is no such job, or no longer
 * @param {(sub: string) => void} [options.onSynced]  all that matches a filter has been told
 * @param {(error: {sub?: string, code: string, detail: string}) => void} [options.onError] a request was refused: it is not repeated
 * @param {(state: "connecting"|"open"|"closed") => void} [options.onState]
 */
export function watch(options = {}) {
	const jobs = new Map(); // those followed by id, with the version seen
	// By name: {filter, since, synced: whether it was on this connection, jobs: those it has found that have not ended, with the version seen}
	const filters = new Map();
	let socket = null, closed = false, pause = minPause, timer = 0, heard = 0;
	const url = options.url ?? new URL("/api/v1/watch", location.href).href;
	const call = (f, ...args) => f && f(...args);
	const list = (map) => Array.from(map, ([id, version]) => ({ id, version }));

	function send(message) {
		if (socket && socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
	}

	function sendJobs(all) {
		for (let i = 0; i < all.length; i += 1000) send({ type: "watch", jobs: all.slice(i, i + 1000) });
	}

	function sendFilter(sub, f) {
		f.synced = false;
		send({ type: "watch", sub, filter: f.filter, jobs: list(f.jobs), ...(f.since && { since: f.since }) });
	}

	function connect() {
		call(options.onState, "connecting");
		const protocols = ["errand", ...(options.token ? ["bearer." + escape(options.token)] : [])];
		const s = (socket = new WebSocket(url.replace(/^http/, "ws"), protocols));
		s.onopen = () => {
			heard = Date.now();
			call(options.onState, "open");
			sendJobs(list(jobs));
			for (const [sub, f] of filters) sendFilter(sub, f);
		};
		s.onmessage = (event) => {
			pause = minPause;
			heard = Date.now();
			take(JSON.parse(event.data));
		};
		s.onclose = () => {
			if (s !== socket) return;
			socket = null;
			if (closed) return;
			call(options.onState, "closed");
			timer = setTimeout(connect, pause * (0.5 + Math.random()));
			pause = Math.min(2 * pause, maxPause);
		};
	}

	function take(m) {
		switch (m.type) {
			case "job": {
				const { id, version, state } = m.job;
				const over = state === "succeeded" || state === "failed" || state === "cancelled";
				const note = (map) => (over ? map.delete(id) : map.set(id, version));
				const asked = jobs.has(id);
				if (asked) note(jobs);
				for (const f of filters.values()) if (!asked || f.jobs.has(id)) note(f.jobs);
				call(options.onJob, m.job);
				break;
			}
			case "gone":
				jobs.delete(m.id);
				for (const f of filters.values()) f.jobs.delete(m.id);
				call(options.onGone, m.id);
				break;
			case "synced":
				if (filters.has(m.sub)) Object.assign(filters.get(m.sub), { synced: true, since: m.time });
				call(options.onSynced, m.sub);
				break;
			case "pong":
				// Of a filter that was told from the begin, all up to this time has been.
				for (const f of filters.values()) if (f.synced && m.time) f.since = m.time;
				break;
			case "error":
				if (m.sub) filters.delete(m.sub);
				call(options.onError, m);
				break;
		}
	}

	// A connection that looks open and is dead is found by silence.
	const beat = setInterval(() => {
		if (!socket || socket.readyState !== WebSocket.OPEN) return;
		if (Date.now() - heard > silence) {
			const dead = socket;
			dead.onclose();
			dead.close();
		} else {
			send({ type: "ping" });
		}
	}, silence / 3);

	connect();
	return {
		/** Follows a job until it has ended; version is what was seen of it. */
		follow(id, version = 0) {
			jobs.set(id, version);
			send({ type: "watch", jobs: [{ id, version }] });
		},
		/** No longer follows a job. */
		forget(id) {
			jobs.delete(id);
			send({ type: "unwatch", jobs: [{ id }] });
		},
		/** Follows all that matches a filter, from now on and until unmatch. Since (RFC 3339) asks for what has ended since, too. */
		match(sub, filter, since) {
			const f = { filter, since, jobs: new Map() };
			filters.set(sub, f);
			sendFilter(sub, f);
		},
		unmatch(sub) {
			filters.delete(sub);
			send({ type: "unwatch", sub });
		},
		/** Connects now, if it is waiting to. */
		retry() {
			if (!socket && !closed) {
				clearTimeout(timer);
				connect();
			}
		},
		close() {
			closed = true;
			clearTimeout(timer);
			clearInterval(beat);
			if (socket) socket.close(1000);
		},
	};
}
