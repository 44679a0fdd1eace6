// Posts files to a URL, one after the other: node client.js fetch|undici|http URL FILE...
const { readFileSync } = require("node:fs");
const http = require("node:http");
const { request } = require("undici");

const headers = { "content-type": "application/json" };

const ways = {
  fetch: async (url, body) => {
    const answer = await fetch(url, { method: "POST", headers, body });
    await answer.text();
    return answer.status;
  },
  undici: async (url, body) => {
    const answer = await request(url, { method: "POST", headers, body });
    await answer.body.text();
    return answer.statusCode;
  },
  http: (url, body) =>
    new Promise((resolve, reject) => {
      const sent = http.request(url, { method: "POST", headers }, (answer) => {
        answer.resume();
        answer.on("end", () => resolve(answer.statusCode));
      });
      sent.on("error", reject);
      sent.end(body);
    }),
};

async function main([way, url, ...files]) {
  for (const file of files) {
    const status = await ways[way](url, readFileSync(file));
    if (status !== 200) throw new Error(`${url} answered ${status}`);
  }
  // The process ends by a signal, which is when the SDK writes its last spans.
  process.kill(process.pid, "SIGTERM");
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exit(1);
});
