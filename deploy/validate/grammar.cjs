// Prints those lines of standard input that are no queries by the grammar of Grafana's or Prometheus' query editor.
// The folder of its node modules is the first argument, the grammar's package the second.
const { createRequire } = require("node:module");
const { readFileSync } = require("node:fs");
const { parser } = createRequire(`${process.argv[2]}/`)(process.argv[3]);

for (const query of readFileSync(0, "utf8").split("\n").filter(Boolean)) {
  let broken = false;
  parser.parse(query).iterate({ enter: (node) => { broken ||= node.type.isError; } });
  if (broken) console.log(query);
}
