import assert from "node:assert/strict";
import { test } from "node:test";

import { CarillonError, Publisher, WrongUse } from "@carillon/publisher";

const SECRET = "geheim";

for (const [said, options] of [
  ["mqtt://host", { url: "amqp://127.0.0.1" }],
  ["mqtt://host", { url: SECRET }],
  ["mqtt://host", { url: `mqtt://user:${SECRET}@` }],
  ["not percent-encoded", { url: `mqtt://user:${SECRET}%@127.0.0.1` }],
  ["publisher's name", { url: "mqtt://127.0.0.1", name: "a/b" }],
  ["client id", { url: "mqtt://127.0.0.1", clientId: "a+b" }],
  ["key is for HTTP", { url: "mqtt://127.0.0.1", key: SECRET }],
  ["HTTP needs the publisher's key", { url: "http://127.0.0.1" }],
  ["not a publisher's key", { url: "http://127.0.0.1", key: `${SECRET}\n` }],
  ["has a login", { url: `http://user:${SECRET}@127.0.0.1`, key: "key" }],
]) {
  test(`a wrong option is named, and no secret shown: ${said}`, async () => {
    await assert.rejects(Publisher.connect(options), (error) => {
      assert.ok(error instanceof WrongUse && error instanceof CarillonError);
      assert.equal(error.name, "WrongUse");
      assert.ok(error.message.includes(said), error.message);
      assert.ok(!error.message.includes(SECRET));
      return true;
    });
  });
}

test("over HTTP there is no connection to wait for, and no events", async () => {
  const publisher = await Publisher.connect({ url: "http://127.0.0.1:1", key: "key" });
  assert.throws(() => publisher.events("n1"), WrongUse);
  await assert.rejects(publisher.sendUser("user123", { message: "Hello" }, { key: "é" }), WrongUse);
  await publisher.close();
});
