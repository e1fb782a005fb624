// All requests to the server. They are relative to the page, which may be mounted under any prefix.

import { access } from "./access.svelte";
import { items, members } from "./json";
import { heardServerTime } from "./clock.svelte";
import type { Bulk, Count, Entry, Firing, History, Job, Kind, Log, Me, Obstacle, Page, Preview, Queue, Range, Schedule, Schedules, Session, Spec, Verb } from "./types";

/** An answer that is an error, or no answer at all (status 0). */
export class Problem extends Error {
	constructor(
		readonly status: number,
		message: string,
		readonly errors: { location: string; message: string }[] = [],
		readonly requestId = "",
	) {
		super(message);
	}

	/** What is wrong with a field of the request, such as body.kind. */
	field(location: string): string | undefined {
		return this.errors.find((e) => within(e.location, location))?.message;
	}
}

/** Whether a location such as body.unique.key is body.unique, or inside of it. */
export const within = (location: string, field: string): boolean =>
	location === field || location.startsWith(field + ".") || location.startsWith(field + "[");

interface Options {
	body?: string;
	signal?: AbortSignal;
	token?: string; // to find out whether it is accepted
	only?: Record<string, string>; // headers that say under which condition
}

const patience = 20_000;

const request = async (method: string, path: string, options?: Options) => (await answer(method, path, options)).text;

async function answer(method: string, path: string, { body, signal, token, only }: Options = {}): Promise<{ text: string; etag: string }> {
	if (token === undefined && access.closed) throw new Problem(401, "Nobody is signed in.");
	token ??= access.token;
	const headers: Record<string, string> = method === "GET" ? {} : { "Content-Type": "application/json", ...only };
	if (token) headers.Authorization = "Bearer " + token;
	const limit = AbortSignal.timeout(patience);
	let response: Response, text: string;
	try {
		response = await fetch(new URL("api/v1/" + path, document.baseURI), {
			method,
			body,
			headers,
			signal: signal ? AbortSignal.any([signal, limit]) : limit,
		});
		text = await response.text();
	} catch (e) {
		if (signal?.aborted) throw e;
		throw new Problem(0, limit.aborted ? "The server did not answer in time." : "The server cannot be reached.");
	}
	heardServerTime(response.headers.get("Date"));
	if (response.status === 401) access.refused(token, response.headers.get("WWW-Authenticate"));
	if (!response.ok) throw problemOf(response.status, text);
	if (text && !response.headers.get("Content-Type")?.includes("json")) {
		throw new Problem(0, "This answer is not errand's. You may have to sign in to this site again: reload the page.");
	}
	return { text, etag: response.headers.get("ETag") ?? "" };
}

function problemOf(status: number, text: string): Problem {
	try {
		const p = JSON.parse(text) as { title?: string; detail?: string; hint?: string; errors?: Problem["errors"]; request_id?: string };
		const said = p.detail || p.title || `the server answered ${status}`;
		return new Problem(status, sentence(p.hint ? `${said}; ${p.hint}` : said), p.errors, p.request_id);
	} catch {
		return new Problem(status, `The server answered ${status}.`);
	}
}

const sentence = (s: string) => s.charAt(0).toUpperCase() + s.slice(1).replace(/\.?$/, ".");

const get = async <T>(path: string, signal?: AbortSignal) => JSON.parse(await request("GET", path, { signal })) as T;
const post = (path: string, body: unknown) => request("POST", path, { body: JSON.stringify(body) });
const id = encodeURIComponent;

/** Undefined where the server does not know the route: older servers lack some. */
async function optional<T>(wanted: Promise<T>): Promise<T | undefined> {
	try {
		return await wanted;
	} catch (e) {
		if (e instanceof Problem && e.status === 404) return undefined;
		throw e;
	}
}

/** Reads a job of which args, checkpoint and result are kept as they are written. */
export function parseJob(text: string): Job {
	const raw = members(text);
	const job = JSON.parse(text) as Job;
	for (const name of ["args", "checkpoint", "result"] as const) job[name] = raw.get(name);
	return job;
}

function parseEntry(text: string): Entry {
	return { ...(JSON.parse(text) as Entry), attrs: members(text).get("attrs") };
}

export async function listJobs(q: { filter?: string; cursor?: string; limit: number }, signal?: AbortSignal): Promise<Page> {
	const params = new URLSearchParams({ limit: String(q.limit) });
	if (q.filter) params.set("filter", q.filter);
	if (q.cursor) params.set("cursor", q.cursor);
	const text = await request("GET", "jobs?" + params, { signal });
	const page = members(text);
	return { jobs: items(page.get("jobs") ?? "[]").map(parseJob), next: (JSON.parse(page.get("next") ?? "null") as string) ?? undefined };
}

export const getJob = async (job: string, signal?: AbortSignal) => parseJob(await request("GET", "jobs/" + id(job), { signal }));

/** The entries after the given one, at most a thousand. */
export async function getLog(job: string, after: number, signal?: AbortSignal): Promise<Log> {
	const text = await request("GET", `jobs/${id(job)}/log?limit=1000&after=${after}`, { signal });
	const log = JSON.parse(text) as Log;
	log.entries = items(members(text).get("entries") ?? "[]").map(parseEntry);
	return log;
}

export const why = async (job: string, signal?: AbortSignal) =>
	(await get<{ obstacles: Obstacle[] }>(`jobs/${id(job)}/why`, signal)).obstacles;

/** Does a verb to a job. The answer is the job as it is then; undefined: it was deleted. */
export async function act(verb: Verb, job: string, reason: string): Promise<Job | undefined> {
	if (verb === "delete") {
		await request("DELETE", "jobs/" + id(job));
		return undefined;
	}
	return parseJob(await post(`jobs/${id(job)}/${verb}`, { reason }));
}

/** Creates a job. The body is JSON as text, since its args may hold numbers that must not be rounded. */
export const enqueue = async (body: string) => parseJob(await request("POST", "jobs", { body }));

export const countMatching = async (verb: Verb, filter: string) =>
	JSON.parse(await post("bulk", { verb, filter, dry_run: true })) as Bulk;

export async function startBulk(verb: Verb, filter: string, reason: string, expect: number): Promise<Job> {
	return parseJob(members(await post("bulk", { verb, filter, reason, expect })).get("job")!);
}

export const stats = async (signal?: AbortSignal) => (await get<{ counts: Count[] }>("stats", signal)).counts;
export const queues = async (signal?: AbortSignal) => (await get<{ queues: Queue[] }>("queues", signal)).queues;
export const workers = async (signal?: AbortSignal) => (await get<{ workers: Session[] }>("workers", signal)).workers;
export const kinds = async (signal?: AbortSignal) => (await get<{ kinds: Kind[] }>("kinds", signal)).kinds;
/** Who this is with a token; undefined where a server does not say. */
export const me = (token: string) => optional(request("GET", "me", { token }).then((text) => JSON.parse(text) as Me));
export const history = (range: Range, signal?: AbortSignal) => optional(get<History>("history?range=" + range, signal));

export const pauseQueue = (queue: string, reason: string) => post(`queues/${id(queue)}/pause`, { reason });
export const resumeQueue = (queue: string, reason: string) => post(`queues/${id(queue)}/resume`, { reason });
export const drain = (worker: string) => request("POST", `workers/${id(worker)}/drain`);
export const undrain = (worker: string) => request("POST", `workers/${id(worker)}/undrain`);

/** A page of the schedules, by name; undefined where the server has none. */
export function schedules(q: { after?: string; search?: string; only?: string; limit: number; history: number }, signal?: AbortSignal): Promise<Schedules | undefined> {
	const params = new URLSearchParams({ limit: String(q.limit), history: String(q.history) });
	for (const name of ["after", "search", "only"] as const) if (q[name]) params.set(name, q[name]);
	return optional(get<Schedules>("schedules?" + params, signal));
}

/** Reads a schedule of which the args are kept as they are written. */
export function parseSchedule(text: string): Schedule {
	const schedule = JSON.parse(text) as Schedule;
	schedule.job.args = members(members(text).get("job")!).get("args");
	return schedule;
}

/** A schedule without its firings, and the tag of its plan. */
export async function getSchedule(name: string, signal?: AbortSignal): Promise<{ schedule: Schedule; etag: string }> {
	const { text, etag } = await answer("GET", `schedules/${id(name)}?history=0`, { signal });
	return { schedule: parseSchedule(text), etag };
}

export const firings = async (name: string, signal?: AbortSignal) => (await get<{ firings: Firing[] }>(`schedules/${id(name)}/firings`, signal)).firings;

/** Sets the plan of a schedule if it has this tag; without one, makes a schedule if there is none of this name. The body is JSON as text. */
export const putSchedule = async (name: string, body: string, etag: string) =>
	parseSchedule(await request("PUT", "schedules/" + id(name), { body, only: etag ? { "If-Match": etag } : { "If-None-Match": "*" } }));

export const previewSchedule = async (body: string, signal: AbortSignal) =>
	JSON.parse(await request("POST", "schedules/preview", { body, signal })) as Preview;

export const pauseSchedule = (name: string, reason: string) => post(`schedules/${id(name)}/pause`, { reason });
export const resumeSchedule = (name: string, reason: string) => post(`schedules/${id(name)}/resume`, { reason });
export const runSchedule = async (name: string) => parseJob(await post(`schedules/${id(name)}/run`, {}));
export const deleteSchedule = (name: string) => request("DELETE", "schedules/" + id(name));

/** Makes the jobs of nominal times that have passed; dry: only counts these. */
export const backfill = async (name: string, from: string, to: string, dry: boolean) =>
	JSON.parse(await post(`schedules/${id(name)}/backfill`, { from, to, dry_run: dry })) as { nominal_times: number; made: number };

/** The specs that have a name; none where the server does not say. */
export const specs = async (signal?: AbortSignal) => (await optional(get<{ specs: Spec[] }>("specs", signal)))?.specs ?? [];
