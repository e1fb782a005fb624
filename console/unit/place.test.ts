import { expect, it } from "vitest";
import { filterHref, href, jobHref, parseHash, scheduleHref } from "../src/lib/place";

it("reads addresses", () => {
	expect(parseHash("")).toMatchObject({ screen: "", id: "" });
	expect(parseHash("#/")).toMatchObject({ screen: "", id: "" });
	const place = parseHash("#/jobs?filter=state%3Afailed+a%3Fb&cursor=x");
	expect(place.screen).toBe("jobs");
	expect(place.params.get("filter")).toBe("state:failed a?b");
	expect(place.params.get("cursor")).toBe("x");
	expect(parseHash("#/jobs/0199-abc")).toMatchObject({ screen: "jobs", id: "0199-abc" });
	expect(parseHash("#/jobs/%zz").id).toBe("%zz");
});

it("writes what it reads", () => {
	const filter = 'error:"100 % & more" tag:ü#/?';
	expect(parseHash(filterHref(filter)).params.get("filter")).toBe(filter);
	expect(parseHash(jobHref("a/b?c")).id).toBe("a/b?c");
	expect(parseHash(scheduleHref("a/b? #%"))).toMatchObject({ screen: "schedules", id: "a/b? #%", part: "" });
	expect(parseHash(scheduleHref("edit/edit", "edit"))).toMatchObject({ id: "edit/edit", part: "edit" });
	expect(href("jobs", { filter: "", cursor: undefined })).toBe("#/jobs");
});
