// Plays a publisher for the tests: connects with the options in its argument, and does what each line on standard input
// says: {"id": 1, "call": "sendUser", "args": ["user123", {"message": "Hello"}]}. Each call has one line on standard
// output, an iteration of events one for each event.

import { createInterface } from "node:readline";

import { Publisher } from "@carillon/publisher";

const say = (document) => process.stdout.write(`${JSON.stringify(document)}\n`);

const failure = ({ name, message, code, fields, retryAfterS, key }) => ({
  error: { name, message, code, fields, retryAfterS, key },
});

let publisher;
try {
  publisher = await Publisher.connect(JSON.parse(process.argv[2]));
  say({ id: 0, result: "connected" });
} catch (error) {
  say({ id: 0, ...failure(error) });
  process.exit(1);
}

async function answer({ id, call, args }) {
  try {
    if (call === "events") {
      for await (const event of publisher.events(...args)) say({ id, event });
      say({ id, result: "over" });
    } else {
      say({ id, result: (await publisher[call](...args)) ?? null });
    }
  } catch (error) {
    say({ id, ...failure(error) });
  }
}

for await (const line of createInterface({ input: process.stdin })) void answer(JSON.parse(line));
await publisher.close();
