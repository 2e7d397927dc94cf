// A unit test without a broker and a router: node --test order-service.test.mjs

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { NoReceipt } from "@carillon/publisher";
import { FakePublisher } from "@carillon/publisher/testing";

import { OrderService } from "./order-service.mjs";

const publisher = new FakePublisher();
const orders = new OrderService(publisher);

beforeEach(() => publisher.reset());

test("a customer is told once that the order is on its way", async () => {
  const order = { id: "1001", customer: "user123", parcel: "P-7" };
  await orders.shipped(order);
  const again = await orders.shipped(order);

  assert.equal(again.status, "duplicate");
  const [sent, ...more] = publisher.publishedOn("notifications/realtime/user/user123");
  assert.equal(sent.payload.message, "Order 1001, parcel P-7");
  assert.deepEqual(more, []);
});

test("an address that is none is told to the caller", async () => {
  assert.equal(await orders.invoiced({ id: "1001", email: "user@example.com" }), true);
  // The fake checks as the router does.
  assert.equal(await orders.invoiced({ id: "1002", email: "user at example.com" }), false);
});

test("while the broker is away the caller knows that it has to try again", async () => {
  publisher.failNext();
  await assert.rejects(orders.shipped({ id: "1003", customer: "user123", parcel: "P-8" }), NoReceipt);
});
