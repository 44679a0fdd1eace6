// Prints those lines of standard input that are not TraceQL by the grammar of Grafana's query editor.
// Its folder of node modules is the first argument.
const { createRequire } = require("node:module");
const { readFileSync } = require("node:fs");
const { parser } = createRequire(`${process.argv[2]}/`)("@grafana/lezer-traceql");

for (const query of readFileSync(0, "utf8").split("\n").filter(Boolean)) {
  let broken = false;
  parser.parse(query).iterate({ enter: (node) => { broken ||= node.type.isError; } });
  if (broken) console.log(query);
}
