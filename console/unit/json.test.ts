import { describe, expect, it } from "vitest";
import { items, JsonError, members, mistake, parse, position, pretty, unquote } from "../src/lib/json";

describe("parse", () => {
	it("accepts what JSON.parse accepts, and nothing else", () => {
		const good = ["{}", "[]", "0", "-1.5e+10", '"a\\u00e9\\n"', "true", "null", ' { "a" : [ 1 , {} ] } ', '""', "[[[]]]", '"\u2028"', "1E5"];
		const bad = ["", " ", "{", "[1,]", "{,}", '{"a"}', '{"a":}', "01", "1.", "+1", ".5", "'a'", '"a', '"\n"', '"\\x"', "tru", "nulll", "1 2", "[1 2]", "{a:1}", "NaN", "\u00a01"];
		for (const text of good) expect(() => parse(text), text).not.toThrow();
		for (const text of bad) {
			expect(() => parse(text), text).toThrow(JsonError);
			expect(() => JSON.parse(text), text).toThrow();
		}
	});

	it("says where it stopped", () => {
		const at = (text: string) => {
			try {
				parse(text);
			} catch (e) {
				return (e as JsonError).at;
			}
			return undefined;
		};
		expect(at('{"a": 1,}')).toBe(8);
		expect(at("[1, x]")).toBe(4);
		expect(at('{"a"')).toBe(4);
		expect(at("1 x")).toBe(2);
	});

	it("gives up on what is nested too deeply, and not on what is not", () => {
		expect(() => parse("[".repeat(900) + "]".repeat(900))).not.toThrow();
		expect(() => parse("[".repeat(100_000) + "]".repeat(100_000))).toThrow(JsonError);
	});

	it("reads a megabyte quickly", () => {
		const text = JSON.stringify(Array.from({ length: 20_000 }, (_, i) => ({ id: i, name: `name "${i}"` })));
		const begin = performance.now();
		expect(parse(text).end).toBe(text.length);
		expect(performance.now() - begin).toBeLessThan(1500);
	});
});

it("cuts out members and items as they are written", () => {
	const text = '{"id":"x", "args": {"n": 12345678901234567890, "f": 1.10}, "\\u0061b":[1, 2 ] }';
	const m = members(text);
	expect(m.get("args")).toBe('{"n": 12345678901234567890, "f": 1.10}');
	expect(m.get("ab")).toBe("[1, 2 ]");
	expect(items(m.get("ab")!)).toEqual(["1", "2"]);
	expect(members("[1]").size).toBe(0);
	expect(items("{}")).toEqual([]);
	const deep = "[".repeat(100_000) + '"]"' + "]".repeat(100_000);
	expect(members(`{"args":${deep},"b":1}`).get("args")).toBe(deep);
	expect(items(`[{"a]":"\\"]"}, 2]`)).toEqual(['{"a]":"\\"]"}', "2"]);
	const long = JSON.stringify(["\\\"".repeat(500_000)]);
	expect(items(`[${long}]`)).toEqual([long]);
	expect(() => items("[[1, 2")).toThrow(JsonError);
});

it("prints with indents and keeps numbers", () => {
	expect(pretty('{"a":9007199254740993,"b":[1.0,{"c":"x\\ny"}],"d":{},"e":[]}')).toBe(
		'{\n  "a": 9007199254740993,\n  "b": [\n    1.0,\n    {\n      "c": "x\\ny"\n    }\n  ],\n  "d": {},\n  "e": []\n}',
	);
	expect(pretty("not json")).toBe("not json");
});

it("tells mistakes by line and column", () => {
	expect(mistake('{"a": 1}')).toBeUndefined();
	expect(mistake('{\n  "a": 1,\n}')).toBe("Line 3, column 1: expected a key in double quotes.");
	expect(mistake("[1")).toBe('Line 1, column 3: it ends too early: expected "," or "]".');
	expect(position("a\nbc", 3)).toEqual({ line: 2, column: 2 });
});

it("unquotes", () => {
	expect(unquote("a\\u00e9\\n")).toBe("aé\n");
	expect(unquote("plain")).toBe("plain");
});
