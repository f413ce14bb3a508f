// `node cedar_wasm.cjs MODULES LAYOUT WORK`: Cedar's WebAssembly build behind Node's own HTTP server.
// MODULES is the folder that the package lies in, WORK a file of JSON with `chain`, `entities` and `policies`, each
// policy as its Cedar text by identity. LAYOUT `all` keeps one parsed set of all policies; `candidates` keeps one of
// those that are bound to the asker's chain. Prints `ready on URL` when it can decide.
"use strict";
const fs = require("node:fs");
const http = require("node:http");
const path = require("node:path");

const [modules, layout, file] = process.argv.slice(2);
const cedar = require(path.join(modules, "@cedar-policy/cedar-wasm/nodejs"));
const work = JSON.parse(fs.readFileSync(file, "utf8"));

let policies = work.policies;
if (layout === "candidates") {
  const chain = new Set(work.chain);
  policies = Object.fromEntries(Object.entries(policies).filter(([identity]) => chain.has(identity)));
}
const parsed = cedar.preparsePolicySet("work", { staticPolicies: policies });
if (parsed.type !== "success") throw new Error(JSON.stringify(parsed));

function decide(asked) {
  const answer = cedar.statefulIsAuthorized({
    principal: { type: "Identity", id: asked.principal },
    action: { type: "Action", id: asked.action },
    resource: { type: "Merchant", id: asked.resource },
    context: {
      amount: asked.amount,
      currency: asked.currency,
      merchant_category: asked.merchant_category,
      hour: asked.hour,
    },
    preparsedPolicySetId: "work",
    entities: work.entities,
  });
  return answer.type === "success" && answer.response.decision === "allow";
}

const server = http.createServer((request, response) => {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    const body = JSON.stringify({ allowed: decide(JSON.parse(Buffer.concat(chunks))) });
    response.writeHead(200, { "content-type": "application/json", "content-length": body.length });
    response.end(body);
  });
});
server.keepAliveTimeout = 0; // a connection that waits for its next turn is not closed
server.listen(0, "127.0.0.1", () => console.log(`ready on http://127.0.0.1:${server.address().port}`));
process.on("SIGTERM", () => process.exit(0));
