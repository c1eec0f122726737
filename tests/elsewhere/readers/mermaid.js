// Says of each Mermaid file which nodes and edges Mermaid's own parser reads in it.

const { readFileSync } = require("node:fs");
const { runInThisContext } = require("node:vm");

// What cleans HTML does so in browsers alone; where there is none, it is a bare function without these.
Function.prototype.addHook = () => {};
Function.prototype.sanitize = (text) => text;
runInThisContext(readFileSync(require.resolve("@mermaid-js/tiny"), "utf8"));

// Mermaid hides entity codes from its grammar, and shows them when it draws.
const shown = (text) => text.replace(/ﬂ°°(\d+)¶ß/g, (_, code) => String.fromCodePoint(Number(code)));

async function main() {
  for (const file of process.argv.slice(2)) {
    let read;
    const text = readFileSync(file, "utf8");
    try {
      await mermaid.parse(text);
      const { db } = await mermaid.mermaidAPI.getDiagramFromText(text);
      const nodes = [...db.getVertices().values()];
      read = {
        nodes: Object.fromEntries(nodes.map((node) => [node.id, node.text.split("<br>").map(shown)])),
        classes: Object.fromEntries(nodes.map((node) => [node.id, node.classes])),
        edges: db.getEdges().map((edge) => [edge.start, edge.end]),
      };
    } catch (error) {
      read = { error: error.message };
    }
    process.stdout.write(`${JSON.stringify(read)}\n`);
  }
}

main();
