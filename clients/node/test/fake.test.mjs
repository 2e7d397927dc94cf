import assert from "node:assert/strict";
import { test } from "node:test";

import { NoReceipt, RateLimited, Refused, WrongUse } from "@carillon/publisher";
import { check, FakePublisher } from "@carillon/publisher/testing";

const TOPIC = "notifications/realtime/user/user123";

const refused = async (publish) => {
  const error = await publish.then(
    () => assert.fail("it was accepted"),
    (reason) => reason,
  );
  assert.ok(error instanceof Refused, String(error));
  return error;
};

test("every method publishes on its topic, and good payloads are accepted", async () => {
  const fake = new FakePublisher();
  const mail = { to: "user@example.com", subject: "Welcome", body: "Hello" };
  await fake.sendUser("user123", { message: "Hello" });
  await fake.sendUser("user123", { template: "welcome", data: { name: "A" } });
  await fake.sendGroup("staff", { message: "Hello" });
  await fake.broadcast({ message: "Hello", target_groups: ["staff"] });
  await fake.alert("critical", "disk", { message: "Disk is full", dedup_key: "disk-7" });
  await fake.acknowledge("a1", { user_id: "user123" });
  await fake.resolve("a1");
  await fake.cancel("n1", { recall: true });
  await fake.sendEmail(mail);
  await fake.sendEmailBatch({ emails: [mail] });
  await fake.sendSms({ phone: "+15555550100", message: "Hello" });
  await fake.sendPush("android", { tokens: ["abc"], message: "Hello" });
  await fake.status({ message: "All well", services: { mail: "ok" } });
  await fake.maintenance({ message: "Tonight", starts_at: new Date("2030-01-05T09:00:00Z") });
  assert.deepEqual(
    fake.published.map(({ topic }) => topic),
    [
      TOPIC,
      TOPIC,
      "notifications/realtime/group/staff",
      "notifications/realtime/broadcast",
      "notifications/alerts/critical/disk",
      "notifications/alerts/acknowledge/a1",
      "notifications/alerts/resolve/a1",
      "notifications/cancel/n1",
      "notifications/email/send",
      "notifications/email/batch",
      "notifications/sms/send",
      "notifications/push/mobile/android",
      "notifications/system/status",
      "notifications/system/maintenance",
    ],
  );
  assert.equal(fake.published.at(-1).payload.starts_at, "2030-01-05T09:00:00.000Z");
});

test("a receipt has an id of its own, and an alert's says the alert", async () => {
  const fake = new FakePublisher();
  const first = await fake.sendUser("user123", { message: "Hello" });
  const second = await fake.alert("info", "disk", { message: "Hello" });
  assert.notEqual(first.notification_id, second.notification_id);
  assert.equal(second.alert_id, second.notification_id);
  assert.equal(first.sends, 1);
});

test("a misspelt field is named with what was meant, and nothing is kept", async () => {
  const fake = new FakePublisher();
  const error = await refused(fake.sendUser("user123", { mesage: "Hello" }));
  assert.equal(error.code, "invalid_payload");
  assert.deepEqual(error.fields, [
    { field: "message", problem: "required" },
    { field: "mesage", problem: "unknown", meant: "message" },
  ]);
  assert.match(error.message, /mesage: unknown, did you mean message\?/);
  assert.deepEqual(fake.published, []);
});

test("an unknown field is a warning, and a wrong topic's nearest is named", async () => {
  const fake = new FakePublisher();
  const { warnings } = await fake.sendUser("user123", { message: "Hello", prioriy: "high" });
  assert.deepEqual(warnings, [{ field: "prioriy", problem: "unknown", meant: "priority" }]);
  const error = await refused(fake.publish("notifications/realtime/users/user123", { message: "Hello" }));
  assert.equal(error.code, "unknown_topic");
  assert.match(error.message, /Did you mean notifications\/realtime\/user\/\{user_id\}\?/);
});

test("the same key again is the same notification, and with another body a conflict", async () => {
  const fake = new FakePublisher();
  const first = await fake.sendUser("user123", { message: "Hello" }, { key: "k1" });
  const again = await fake.sendUser("user123", { message: "Hello" }, { key: "k1" });
  assert.deepEqual([again.status, again.notification_id], ["duplicate", first.notification_id]);
  const error = await refused(fake.sendUser("user123", { message: "Else" }, { key: "k1" }));
  assert.equal(error.code, "idempotency_conflict");
  const own = { id: "order-1", message: "Hello" };
  await fake.sendUser("user123", own);
  assert.equal((await fake.sendUser("user123", own)).status, "duplicate");
  assert.equal(fake.published.length, 2);
  assert.equal(fake.published[1].key, undefined);
});

test("a test says what a router would say for other reasons", async () => {
  const fake = new FakePublisher();
  fake.rejectNext({ code: "rate_limited", retry_after_s: 2 });
  const limited = await refused(fake.sendUser("user123", { message: "Hello" }));
  assert.ok(limited instanceof RateLimited);
  assert.equal(limited.retryAfterS, 2);
  fake.rejectNext({ code: "rate_limited", retry_after_s: 2 });
  const receipt = await fake.sendUser("user123", { message: "Hello" }, { waitWhenLimited: true });
  assert.deepEqual([receipt.status, receipt.sends], ["accepted", 2]);
  fake.failNext();
  await assert.rejects(fake.sendUser("user123", { message: "Hello" }, { key: "k1" }), (error) => {
    assert.ok(error instanceof NoReceipt);
    assert.equal(error.key, "k1");
    return true;
  });
  await fake.close();
  await assert.rejects(fake.sendUser("user123", { message: "Hello" }), NoReceipt);
});

test("what no server would take is not published", async () => {
  const fake = new FakePublisher();
  for (const publish of [
    () => fake.sendUser("a/b", { message: "Hello" }),
    () => fake.sendUser("", { message: "Hello" }),
    () => fake.sendUser(undefined, { message: "Hello" }),
    () => fake.publish("notifications/#", {}),
    () => fake.publish("", {}),
    () => fake.publish(TOPIC, "text"),
    () => fake.publish(TOPIC, { ttl_s: NaN }),
    () => fake.publish(TOPIC, { ttl_s: 5n }),
    () => fake.publish(TOPIC, { message: "x".repeat(2 ** 20) }),
    () => fake.publish(TOPIC, {}, { key: "two\nlines" }),
    () => fake.publish(TOPIC, {}, { timeoutMs: 0 }),
  ]) {
    await assert.rejects(publish(), WrongUse);
  }
  assert.deepEqual(fake.published, []);
});

test("filters of MQTT find what was published", async () => {
  const fake = new FakePublisher();
  await fake.sendUser("user123", { message: "Hello" });
  await fake.sendUser("user.456", { message: "Hello" });
  await fake.status({ message: "All well" });
  assert.equal(fake.publishedOn("notifications/realtime/user/+").length, 2);
  assert.equal(fake.publishedOn("notifications/realtime/user/user.456").length, 1);
  assert.equal(fake.publishedOn("notifications/realtime/user/userx456").length, 0);
  assert.equal(fake.publishedOn("notifications/#").length, 3);
  assert.equal(fake.publishedOn("notifications/system/status/#").length, 1);
  assert.equal(fake.publishedOn("+/system/+").length, 1);
});

test("events are iterated as a test tells them, until the signal, break or close", async () => {
  const fake = new FakePublisher();
  const { notification_id: id } = await fake.sendUser("user123", { message: "Hello", events: true });
  const stop = new AbortController();
  const events = fake.events(id, { signal: stop.signal });
  fake.tell(id, { state: "accepted" });
  fake.tell(id, { state: "delivered", channel: "realtime" });
  const states = [];
  for await (const { state } of events) {
    states.push(state);
    if (states.length === 2) stop.abort();
  }
  assert.deepEqual(states, ["accepted", "delivered"]);
  for await (const event of fake.events(id, { signal: AbortSignal.abort() })) assert.fail(event.state);
  const waiting = fake.events(id).next();
  await fake.close();
  assert.equal((await waiting).done, true);
});

test("a payload is checked without a publisher, too", () => {
  const payload = Buffer.from('{"message": "Hello", "title": 5}');
  assert.deepEqual(check(TOPIC, payload).error.fields, [{ field: "title", problem: "must be a string" }]);
  assert.deepEqual(check(TOPIC, Buffer.from('{"message": "Hello"}')), { warnings: [] });
});
