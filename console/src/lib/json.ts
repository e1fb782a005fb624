// JSON as text. JSON.parse rounds integers beyond 2^53, and what an operator sees and copies must be what was sent:
// here numbers and strings stay as they are written.

export type Node =
	| { kind: "object"; start: number; end: number; members: Member[] }
	| { kind: "array"; start: number; end: number; items: Node[] }
	| { kind: "string" | "number" | "literal"; start: number; end: number; raw: string };

export interface Member {
	key: string; // as it is written, without its quotes
	value: Node;
}

/** Says where a text stops being JSON. */
export class JsonError extends Error {
	constructor(
		message: string,
		readonly at: number,
	) {
		super(message);
	}
}

// Deeper values are shown as plain text: the parser below calls itself.
const maxDepth = 1000;

const space = /[ \t\n\r]*/y;
const number = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const string = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;
const literal = /true|false|null/y;
const unbracketed = /"(?:[^"\\]|\\.)*"|[^"[\]{}]+/y;

/** Reads one JSON value. Objects and arrays below a depth are not looked into, if one is given: they come as literals. */
export function parse(text: string, until = Infinity): Node {
	let at = 0;

	function skip(pattern: RegExp): string | undefined {
		pattern.lastIndex = at;
		const found = pattern.exec(text)?.[0];
		at += found?.length ?? 0;
		return found;
	}

	function fail(expected: string): never {
		throw new JsonError(at >= text.length ? `it ends too early: expected ${expected}` : `expected ${expected}`, at);
	}

	function token(c: string): boolean {
		skip(space);
		if (text[at] !== c) return false;
		at++;
		return true;
	}

	function list(close: string, item: () => void) {
		if (token(close)) return;
		do {
			skip(space);
			item();
		} while (token(","));
		if (!token(close)) fail(`"," or "${close}"`);
	}

	/** Skips an object or array, however deep it is. */
	function nested(): Node {
		const start = at;
		let open = 0;
		do {
			if (text[at] === "{" || text[at] === "[") open++, at++;
			else if (text[at] === "}" || text[at] === "]") open--, at++;
			else if (skip(unbracketed) === undefined) fail("a closing bracket");
		} while (open > 0);
		return { kind: "literal", start, end: at, raw: text.slice(start, at) };
	}

	function value(depth: number): Node {
		skip(space);
		const start = at;
		if (depth > until && (text[at] === "{" || text[at] === "[")) return nested();
		if (depth > maxDepth) throw new JsonError("it is nested too deeply to be shown", at);
		if (token("{")) {
			const members: Member[] = [];
			list("}", () => {
				const key = skip(string) ?? fail("a key in double quotes");
				if (!token(":")) fail('":"');
				members.push({ key: key.slice(1, -1), value: value(depth + 1) });
			});
			return { kind: "object", start, end: at, members };
		}
		if (token("[")) {
			const items: Node[] = [];
			list("]", () => items.push(value(depth + 1)));
			return { kind: "array", start, end: at, items };
		}
		for (const [kind, pattern] of [["string", string], ["number", number], ["literal", literal]] as const) {
			const raw = skip(pattern);
			if (raw !== undefined) return { kind, start, end: at, raw };
		}
		return fail(text[at] === '"' ? "a string without line breaks, with its closing quote" : "a value");
	}

	const node = value(0);
	skip(space);
	if (at < text.length) fail("nothing more");
	return node;
}

/** The values of an object's members, as they are written. No members if it is not an object. */
export function members(text: string): Map<string, string> {
	const node = parse(text, 0);
	const found = new Map<string, string>();
	if (node.kind === "object") {
		for (const m of node.members) found.set(unquote(m.key), text.slice(m.value.start, m.value.end));
	}
	return found;
}

/** The items of an array, as they are written. */
export function items(text: string): string[] {
	const node = parse(text, 0);
	return node.kind === "array" ? node.items.map((n) => text.slice(n.start, n.end)) : [];
}

/** The text of a key or string, of which the quotes were taken. */
export function unquote(raw: string): string {
	return raw.includes("\\") ? (JSON.parse(`"${raw}"`) as string) : raw;
}

/** The value with line breaks and indents. What is not JSON, or too deep, is returned as it is. */
export function pretty(text: string): string {
	try {
		return print(parse(text), "");
	} catch {
		return text;
	}
}

function print(node: Node, indent: string): string {
	const inner = indent + "  ";
	const wrap = (open: string, parts: string[], close: string) =>
		parts.length ? `${open}\n${inner}${parts.join(`,\n${inner}`)}\n${indent}${close}` : open + close;
	switch (node.kind) {
		case "object":
			return wrap("{", node.members.map((m) => `"${m.key}": ${print(m.value, inner)}`), "}");
		case "array":
			return wrap("[", node.items.map((n) => print(n, inner)), "]");
		default:
			return node.raw;
	}
}

/** The line and column, from 1 on, of a position in a text. */
export function position(text: string, at: number): { line: number; column: number } {
	const before = text.slice(0, at).split("\n");
	return { line: before.length, column: before[before.length - 1]!.length + 1 };
}

/** What is wrong with a text that should be JSON, and where; undefined if nothing is. */
export function mistake(text: string): string | undefined {
	try {
		parse(text);
		return undefined;
	} catch (e) {
		if (!(e instanceof JsonError)) throw e;
		const { line, column } = position(text, e.at);
		return `Line ${line}, column ${column}: ${e.message}.`;
	}
}
