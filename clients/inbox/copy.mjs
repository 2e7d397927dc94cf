// Puts into the package what the repository has once: the modules that the realtime service serves to pages, all but
// those of its page for trying out, and the license.

import { copyFileSync, cpSync, rmSync } from "node:fs";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";

const OF_THE_PAGE_FOR_TRYING_OUT = new Set(["index.html", "page.css", "page.js"]);

const dist = fileURLToPath(new URL("dist", import.meta.url));
rmSync(dist, { recursive: true, force: true });
cpSync(new URL("../../services/realtime/page", import.meta.url), `${dist}/page`, {
  recursive: true,
  filter: (path) => !OF_THE_PAGE_FOR_TRYING_OUT.has(basename(path)),
});
copyFileSync(new URL("../../LICENSE", import.meta.url), `${dist}/LICENSE`);
