import { expect, it } from "vitest";
import { only, quote, terms, toggle, valuesOf, without, withValues } from "../src/lib/filter";

it("splits at spaces outside of quotes", () => {
	expect(terms('  state:failed error:"no route"  args.a="x \\" y" age>1h')).toEqual(["state:failed", 'error:"no route"', 'args.a="x \\" y"', "age>1h"]);
	expect(terms("")).toEqual([]);
	expect(terms('error:"open')).toEqual(['error:"open']);
});

it("reads the values of a key", () => {
	expect(valuesOf('state:failed,cancelled kind:x state:ready', "state")).toEqual(["failed", "cancelled", "ready"]);
	expect(valuesOf('queue:"a, b",c', "queue")).toEqual(["a, b", "c"]);
	expect(valuesOf("kind:x", "state")).toEqual([]);
});

it("toggles values and keeps the rest", () => {
	expect(toggle("", "state", "failed")).toBe("state:failed");
	expect(toggle("kind:mail* state:failed", "state", "ready")).toBe("kind:mail* state:failed,ready");
	expect(toggle("state:failed kind:x", "state", "failed")).toBe("kind:x");
	expect(withValues("queue:a kind:x", "queue", ["b c"])).toBe('kind:x queue:"b c"');
	expect(without('state:failed error:"no route"', 'error:"no route"')).toBe("state:failed");
});

it("quotes what has to be", () => {
	expect(quote("mail*")).toBe("mail*");
	expect(quote("a.b")).toBe('"a.b"');
	expect(quote('say "x"')).toBe('"say \\"x\\""');
	expect(quote("")).toBe('""');
	expect(only("queue", "größe")).toBe("queue:größe");
	expect(valuesOf(only("tag", "a, \"b\"\\"), "tag")).toEqual(['a, "b"\\']);
});
