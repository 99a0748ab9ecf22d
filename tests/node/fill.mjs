// Fills masks with a bundle, in Node: token ids in, the most probable tokens out.
//
//     echo '[{"input_ids": [2, 4, 3], "mask_positions": [1]}]' | node fill.mjs BUNDLE PRECISION [TOP_K]
//
// One query at a time: batching asks for queries of one length, and nothing is padded.
import { createHash } from "node:crypto";
import { createReadStream, readFileSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { InferenceSession, Tensor } from "onnxruntime-node";

async function openBundle(directory, precision) {
  const manifest = JSON.parse(readFileSync(join(directory, "maskedge.json"), "utf8"));
  if (manifest.format_version !== 1) throw new Error(`bundle format ${manifest.format_version} is not 1`);
  for (const [name, { sha256 }] of Object.entries(manifest.files)) {
    const hash = createHash("sha256");
    for await (const chunk of createReadStream(join(directory, name))) hash.update(chunk);
    if (hash.digest("hex") !== sha256) throw new Error(`${name} was altered`);
  }
  const graph = manifest.graphs[precision];
  if (!graph) throw new Error(`no ${precision} graph; there are: ${Object.keys(manifest.graphs)}`);
  const session = await InferenceSession.create(join(directory, graph.file), { intraOpNumThreads: 1 });
  return session;
}

const int64 = (values, shape) => new Tensor("int64", BigInt64Array.from(values, BigInt), shape);

async function fill(session, query, topK) {
  const masks = query.mask_positions.length;
  const outputs = await session.run(
    {
      input_ids: int64(query.input_ids, [1, query.input_ids.length]),
      mask_positions: int64(query.mask_positions, [1, masks]),
      target_ids: int64(new Array(masks).fill(0), [1, masks, 1]), // nothing to rate: any id will do
      top_k: int64([topK], [1]),
    },
    ["top_ids", "top_logprobs"],
  );
  const rows = (values) => Array.from({ length: masks }, (_, mask) => values.slice(mask * topK, (mask + 1) * topK));
  return {
    top_ids: rows(Array.from(outputs.top_ids.data, Number)),
    top_logprobs: rows(Array.from(outputs.top_logprobs.data)),
  };
}

const [directory, precision, topK = "5"] = process.argv.slice(2);
const session = await openBundle(directory, precision);
const answers = [];
for (const query of JSON.parse(await text(process.stdin))) answers.push(await fill(session, query, Number(topK)));
console.log(JSON.stringify(answers));
