// transformers.js's own fill-mask pipeline on a bundle with standard graphs:
// node fill_mask.mjs BUNDLE DTYPE < texts.json > answers.json
import path from "node:path";
import { readFileSync } from "node:fs";
import { env, pipeline } from "@huggingface/transformers";

const [bundle, dtype] = process.argv.slice(2);
env.allowRemoteModels = false;
env.localModelPath = path.dirname(path.resolve(bundle)) + path.sep;
const fill = await pipeline("fill-mask", path.basename(bundle), { dtype });
const answers = [];
for (const texts of JSON.parse(readFileSync(0, "utf8"))) answers.push(await fill(texts, { top_k: 3 }));
console.log(JSON.stringify(answers));
