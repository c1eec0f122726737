// Says of each AsyncAPI document whether AsyncAPI's own parser takes it, and what it finds in it.

const { readFileSync } = require("node:fs");
const { Parser } = require("@asyncapi/parser");

// Of its own latest version it tells in each document.
const WELCOME = new Set(["asyncapi-latest-version"]);

async function main() {
  const parser = new Parser();
  for (const file of process.argv.slice(2)) {
    const { document, diagnostics } = await parser.parse(readFileSync(file, "utf8"));
    const said = diagnostics
      .filter((one) => !WELCOME.has(one.code))
      .map((one) => `${one.path.join(".")}: ${one.message}`);
    const operations = (document ? document.operations().all() : []).map((operation) => ({
      id: operation.id(),
      action: operation.action(),
      channel: operation.channels().all()[0].address(),
      events: operation.messages().all().map((event) => event.name()),
      payloads: operation.messages().all().map((event) => (event.hasPayload() ? event.payload().json() : null)),
    }));
    process.stdout.write(`${JSON.stringify({ valid: Boolean(document), said, operations }, withoutParents())}\n`);
  }
}

// A schema may lead to itself: it is told of once.
function withoutParents() {
  const parents = [];
  return function (key, value) {
    if (key.startsWith("x-parser-")) return undefined;
    while (parents.length && parents.at(-1) !== this) parents.pop();
    if (parents.includes(value)) return "itself";
    if (typeof value === "object" && value !== null) parents.push(value);
    return value;
  };
}

main();
