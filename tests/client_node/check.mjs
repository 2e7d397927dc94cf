// Checks publishes as the fake does: one JSON line in, {"topic", "payload" in base64, "properties"}, and one out.

import { createInterface } from "node:readline";

import { read } from "../dist/testing/read.js";

for await (const line of createInterface({ input: process.stdin })) {
  const { topic, payload, properties } = JSON.parse(line);
  process.stdout.write(`${JSON.stringify(read(topic, Buffer.from(payload, "base64"), properties))}\n`);
}
