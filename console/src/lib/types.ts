// What goes over the wire, as server/api.go and server/schedules.go say. Args, checkpoint and result are kept as text, see json.ts.

export const states = ["scheduled", "waiting", "ready", "running", "paused", "succeeded", "failed", "cancelled"] as const;
export type State = (typeof states)[number];

export interface Progress {
	done: number;
	total?: number;
	text?: string;
}

export interface Job {
	id: string;
	kind: string;
	queue: string;
	args?: string;
	priority: number;
	max_attempts: number;
	max_crashes: number;
	timeout?: string;
	retention?: string;
	unique?: { key?: string; scope?: string; until?: string };
	after?: string[];
	after_outcome?: string;
	tags?: string[];
	metadata?: Record<string, string>;
	created: string;
	state: State;
	version: number;
	due?: string;
	want?: State;
	actor?: string;
	reason?: string;
	attempt: number;
	crashes?: number;
	blocked?: number;
	clean_up?: "armed" | "due";
	worker?: string;
	started?: string;
	ended?: string;
	expires?: string;
	schedule?: string;
	nominal?: string;
	checkpoint?: string;
	progress?: Progress;
	result?: string;
	error?: string;
	entries: number;
	omitted?: string[];
	duplicate?: boolean;
	warning?: string;
}

/** A job as the watch tells it: without the values that must be kept as text, and without long ones. */
export type LiveJob = Omit<Job, "args" | "checkpoint" | "result">;

export interface Page {
	jobs: Job[];
	next?: string;
}

export interface Entry {
	seq: number;
	time: string;
	type: "log" | "attempt" | "action";
	level: string;
	attempt: number;
	text: string;
	attrs?: string;
}

export interface Log {
	entries: Entry[];
	after: number;
	ended: boolean;
}

export interface Count {
	queue: string;
	kind: string;
	state: State;
	jobs: number;
}

export interface Obstacle {
	gate: string;
	text: string;
	until?: string;
	jobs?: string[];
	workers?: string[];
	count?: number;
	actor?: string;
	reason?: string;
	since?: string;
}

export interface Queue {
	name: string;
	paused?: { since: string; actor?: string; reason?: string };
	jobs: Partial<Record<State, number>>;
	oldest_ready?: string;
	slots: number;
	workers: number;
}

export interface Session {
	id: string;
	alive: boolean;
	draining?: boolean;
	host: string;
	pid: number;
	version?: string;
	started: string;
	expires: string;
	queues?: Record<string, number>;
	concurrency?: number;
	limits?: Record<string, number>;
	kinds?: string[];
	running: number;
	refused: number;
}

export interface Kind {
	name: string;
	here: boolean;
	workers: number;
}

export interface Point {
	time: string;
	added: number;
	started: number;
	succeeded: number;
	failed: number;
	cancelled: number;
	wait?: string;
}

export interface History {
	step: string;
	points: Point[];
}

export const ranges = { "15m": "15 minutes", "1h": "hour", "24h": "24 hours", "168h": "7 days" } as const;
export type Range = keyof typeof ranges;

export type Verb = "pause" | "resume" | "retry" | "cancel" | "terminate" | "delete";

export interface Bulk {
	filter: string;
	count?: number;
	more?: boolean;
	job?: Job;
}

export interface Me {
	name: string;
	role: "viewer" | "operator" | "admin";
	read_only: boolean;
	version: string;
}

export type Overlap = "skip" | "queue_one" | "queue_all" | "cancel" | "allow";
export type Misfire = "once" | "skip" | "catch_up";

export interface Template {
	kind: string;
	args?: string;
	queue?: string;
	priority?: number;
	max_attempts?: number;
	max_crashes?: number;
	timeout?: string;
	retention?: string;
	tags?: string[];
	metadata?: Record<string, string>;
}

export interface Firing {
	seq: number;
	nominal: string;
	at: string;
	outcome: "made" | "skipped" | "missed" | "manual" | "backfilled";
	missed?: number;
	job?: string;
	state?: State;
	started?: string;
	ended?: string;
}

/** A schedule in a list: the job is left out, of which long values are missing there. */
export interface ListedSchedule {
	name: string;
	spec: string;
	zone?: string;
	start?: string;
	end?: string;
	jitter?: string;
	overlap: Overlap;
	misfire: Misfire;
	catch_up?: number;
	window?: string;
	grace?: string;
	resolved?: string;
	describe: string;
	created: string;
	changed: string;
	registered: boolean;
	actor?: string;
	reason?: string;
	paused?: string;
	paused_by?: string;
	paused_reason?: string;
	next?: string;
	upcoming?: string[];
	prev?: string;
	late_by?: string;
	late?: string;
	made: number;
	skipped: number;
	missed: number;
	last?: { id: string; state?: State; started?: string; ended?: string; error?: string };
	history?: Firing[];
	warning?: string;
}

export interface Schedule extends ListedSchedule {
	job: Template;
}

export interface Schedules {
	schedules: ListedSchedule[];
	next?: string;
}

export interface Preview {
	spec: string;
	resolved?: string;
	zone?: string;
	describe: string;
	next: string[];
	warning?: string;
}

export interface Spec {
	name: string;
	spec: string;
	describe: string;
}

export const ended = (state: State): boolean => state === "succeeded" || state === "failed" || state === "cancelled";
