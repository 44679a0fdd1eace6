// Sends files to a topic and posts each that comes from there to a URL, by kafkajs:
// node kafka.js produce BROKERS TOPIC FILE...
// node kafka.js message|batch BROKERS TOPIC URL COUNT
const { readFileSync } = require("node:fs");
const { Kafka, logLevel } = require("kafkajs");

async function produce(kafka, topic, files) {
  const producer = kafka.producer();
  await producer.connect();
  for (const file of files) await producer.send({ topic, messages: [{ value: readFileSync(file) }] });
  await producer.disconnect();
}

async function consume(kafka, way, topic, url, count) {
  const consumer = kafka.consumer({ groupId: "kafkajs", maxBytesPerPartition: 100_000_000, maxBytes: 100_000_000 });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  let answered = 0;
  await new Promise((resolve, reject) => {
    const post = async (message) => {
      const headers = { "content-type": "application/json" };
      const answer = await fetch(url, { method: "POST", headers, body: message.value });
      await answer.text();
      if (answer.status !== 200) reject(new Error(`${url} answered ${answer.status}`));
      answered += 1;
    };
    const done = () => answered === Number(count) && setTimeout(resolve, 100); // its span ends when we have come back
    const each = {
      message: { eachMessage: async ({ message }) => post(message).then(done) },
      batch: {
        eachBatch: async ({ batch }) => {
          for (const message of batch.messages) await post(message);
          done();
        },
      },
    };
    consumer.run(each[way]).catch(reject);
  });
  await consumer.disconnect();
}

async function main([way, brokers, topic, ...rest]) {
  const kafka = new Kafka({ clientId: "kafkajs", brokers: brokers.split(","), logLevel: logLevel.ERROR });
  await (way === "produce" ? produce(kafka, topic, rest) : consume(kafka, way, topic, ...rest));
  // The process ends by a signal, which is when the SDK writes its last spans.
  process.kill(process.pid, "SIGTERM");
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exit(1);
});
