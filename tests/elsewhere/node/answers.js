// A service that knows only topics: it answers each request with how long its subject is.
// Called with: bootstrap servers, its group, the topic of requests, the topic of replies.
"use strict";

const { Kafka, Partitioners, logLevel } = require("kafkajs");

// What a reply takes over from its request, byte for byte; all but `correlation` may be absent.
const COPIED = ["ce_subject", "correlation", "traceparent", "tracestate"];

async function main(bootstrap, group, requests, replies) {
  const kafka = new Kafka({ brokers: bootstrap.split(","), logLevel: logLevel.WARN });
  const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner });
  const consumer = kafka.consumer({ groupId: group });
  await producer.connect();
  await consumer.connect();
  await consumer.subscribe({ topics: [requests], fromBeginning: true });
  // An offset is committed only after its request is answered: one that is read again after a crash is
  // answered again, with the same id.
  await consumer.run({
    eachMessage: async ({ message }) => {
      const reply = replyTo(message);
      if (reply) await producer.send({ topic: replies, acks: -1, messages: [reply] });
    },
  });
}

function replyTo(request) {
  const headers = request.headers;
  // All else is what takes a request back, and all that comes one day.
  if (String(headers.ce_type) !== "asked") return null;
  const copied = COPIED.filter((name) => headers[name] !== undefined).map((name) => [name, headers[name]]);
  return {
    key: request.key,
    value: JSON.stringify({ n: [...headers.ce_subject.toString()].length }),
    headers: {
      ...Object.fromEntries(copied),
      ce_specversion: "1.0",
      ce_id: `${headers.ce_id}/reply`,
      ce_source: "/services/node",
      ce_type: "answered",
      "content-type": "application/json",
    },
  };
}

main(...process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exit(1);
});
