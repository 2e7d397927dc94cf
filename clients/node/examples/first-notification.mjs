// Sends one notification and prints what the router answered:
//   node first-notification.mjs mqtt://127.0.0.1:1883 user123
//   CARILLON_KEY=… node first-notification.mjs http://127.0.0.1:8080 user123

import { Publisher, Refused } from "@carillon/publisher";

const [url = "mqtt://127.0.0.1:1883", userId = "user123"] = process.argv.slice(2);

const publisher = await Publisher.connect({ url, key: process.env.CARILLON_KEY });
try {
  const receipt = await publisher.sendUser(userId, { title: "Hello", message: "Your first notification" });
  console.log(`${receipt.status} ${receipt.notification_id}`);
} catch (error) {
  if (!(error instanceof Refused)) throw error;
  // What is wrong, field by field: message: required
  console.error(error.message);
  process.exitCode = 1;
} finally {
  await publisher.close();
}
