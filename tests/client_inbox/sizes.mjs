// Builds a page for each line that was given, and prints what of it a browser loads at once: the bytes, compressed, and
// the modules.

import { mkdirSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { build } from "vite";

const sizes = {};
for (const [number, line] of process.argv.slice(2).entries()) {
  const folder = `pages/${number}`;
  mkdirSync(folder, { recursive: true });
  writeFileSync(`${folder}/page.js`, line);
  const { output } = await build({
    root: folder,
    logLevel: "warn",
    build: {
      write: false,
      modulePreload: { polyfill: false },
      rollupOptions: { input: `${folder}/page.js`, external: /^react/ },
    },
  });
  const chunks = new Map(output.filter(({ type }) => type === "chunk").map((chunk) => [chunk.fileName, chunk]));
  const loaded = new Set([...chunks.values()].filter(({ isEntry }) => isEntry));
  for (const chunk of loaded) for (const name of chunk.imports) if (chunks.has(name)) loaded.add(chunks.get(name));
  sizes[line] = {
    bytes: [...loaded].reduce((sum, { code }) => sum + gzipSync(code, { level: 9 }).length, 0),
    modules: [...loaded].flatMap(({ moduleIds }) => moduleIds).map((id) => id.split("@carillon/inbox/dist/")[1] ?? id),
  };
}
console.log(JSON.stringify(sizes));
