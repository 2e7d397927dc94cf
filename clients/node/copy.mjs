// Puts into the package what the repository has once: the rules of the router's payloads, with which the test kit checks,
// and the license.

import { copyFileSync } from "node:fs";

for (const [from, to] of [
  ["../rules.json", "dist/rules.json"],
  ["../../LICENSE", "dist/LICENSE"],
]) {
  copyFileSync(new URL(from, import.meta.url), new URL(to, import.meta.url));
}
