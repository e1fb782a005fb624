import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vitest/config";
import type { Plugin } from "vite";

// Where `npm run dev` finds an errand server.
const server = process.env.ERRAND_SERVER ?? "http://127.0.0.1:8080";

export default defineConfig({
	base: "./", // the page may be mounted under any prefix
	plugins: [svelte(), licences()],
	build: {
		target: "es2022",
		assetsInlineLimit: 0, // the content security policy allows no inline code
		modulePreload: { polyfill: false },
	},
	server: { proxy: { "/api": { target: server, ws: true } }, fs: { allow: [".."] } },
	test: { include: ["unit/*.test.ts"] },
});

// licences writes THIRD_PARTY.txt: the licence of every package of which there is code in the bundle.
function licences(): Plugin {
	return {
		name: "licences",
		apply: "build",
		generateBundle(_, bundle) {
			const folders = new Set<string>();
			for (const chunk of Object.values(bundle)) {
				if (chunk.type !== "chunk") continue;
				for (const id of chunk.moduleIds) {
					const folder = /^\0?(.*\/node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(id)?.[1];
					if (folder) folders.add(folder);
				}
			}
			const parts = [...folders].sort().map((folder) => {
				const about = JSON.parse(readFileSync(folder + "/package.json", "utf8"));
				const name = ["LICENSE", "LICENSE.md", "license"].find((name) => existsSync(`${folder}/${name}`));
				if (!name) throw new Error(`${about.name} has no licence file`);
				return `${about.name} ${about.version} (${about.license})\n\n${readFileSync(`${folder}/${name}`, "utf8").trim()}\n`;
			});
			const text = "The console has code of these packages in it.\n\n" + parts.join("\n" + "-".repeat(80) + "\n\n");
			this.emitFile({ type: "asset", fileName: "THIRD_PARTY.txt", source: text });
			writeFileSync(new URL("THIRD_PARTY.txt", import.meta.url), text);
		},
	};
}
