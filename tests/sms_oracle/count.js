// Reads a JSON list of texts, writes [encoding, segments] for each, as Twilio's calculator counts them.
const { SegmentedMessage } = require("sms-segments-calculator");

const texts = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
const counted = texts.map((text) => {
  const message = new SegmentedMessage(text);
  return [message.getEncodingName(), message.segmentsCount];
});
process.stdout.write(JSON.stringify(counted));
