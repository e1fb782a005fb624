// Filters as text, for the chips beside the filter box. The server alone decides what a filter means, see errand.ParseQuery.

/** The terms of a filter. Spaces within quotes do not end a term. */
export function terms(text: string): string[] {
	return text.match(/(?:"(?:[^"\\]|\\.)*"?|[^\s"])+/g) ?? [];
}

/** The values of a key, such as state, kind or queue. */
export function valuesOf(text: string, key: string): string[] {
	return terms(text)
		.filter((t) => t.startsWith(key + ":"))
		.flatMap((t) => t.slice(key.length + 1).match(/"(?:[^"\\]|\\.)*"|[^,"]+/g) ?? [])
		.map(unquote);
}

function unquote(value: string): string {
	if (!value.startsWith('"')) return value;
	try {
		return JSON.parse(value) as string;
	} catch {
		return value;
	}
}

/** The filter with these values of a key and no others. */
export function withValues(text: string, key: string, values: string[]): string {
	const others = terms(text).filter((t) => !t.startsWith(key + ":"));
	if (values.length) others.push(`${key}:${values.map(quote).join(",")}`);
	return others.join(" ");
}

/** The filter with a value of a key added, or taken away if it was there. */
export function toggle(text: string, key: string, value: string): string {
	const values = valuesOf(text, key);
	return withValues(text, key, values.includes(value) ? values.filter((v) => v !== value) : [...values, value]);
}

/** The filter without one of its terms. */
export function without(text: string, term: string): string {
	return terms(text)
		.filter((t) => t !== term)
		.join(" ");
}

/** A value as the server reads it in a filter. */
export function quote(value: string): string {
	return /^[\p{L}\p{N}_*@+~!$%&()[\]{}#;?/|^'-]+$/u.test(value) ? value : JSON.stringify(value);
}

/** A filter of one term. */
export const only = (key: string, value: string): string => `${key}:${quote(value)}`;
