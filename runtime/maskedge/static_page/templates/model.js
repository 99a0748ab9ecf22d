// --- text -> token ids -> what the model says, as maskedge.inference has it

class TextError extends Error {}

/** Texts as the model reads them, by the steps and limits of maskedge.inference.encoding.TextEncoder. */
class MaskEncoder {
  constructor(page, tokenizer) {
    Object.assign(this, page);
    this.tokenizer = tokenizer;
    this.room = page.max_length - page.prefix.length - page.suffix.length;
    this.reach = page.chars_per_token * page.max_length;
  }

  ids(text) {
    return this.tokenizer.encode(text, { add_special_tokens: false }).ids;
  }

  /** { input_ids, positions, truncated, source, all, start }; throws TextError where there is no mask to fill. */
  encode(text) {
    if (/\p{Cs}/u.test(text)) throw new TextError("The sentence holds half a character, which no text can.");
    const whole = this.mask_spellings.reduce((one, spelling) => one.replaceAll(spelling, this.mask_token), text);
    const source = this.cut(whole);
    const all = this.ids(source);
    const [start, stop] = this.window(all);
    const input_ids = [...this.prefix, ...all.slice(start, stop), ...this.suffix];
    const positions = input_ids.flatMap((id, index) => (id === this.mask_id ? [index] : []));
    return { input_ids, positions, source, all, start, truncated: source !== whole || stop - start < all.length };
  }

  /** A very long text's neighbourhood of its masks. Characters are counted as Python does, not in UTF-16 units. */
  cut(text) {
    const characters = text.length <= this.reach ? [] : Array.from(text);
    if (characters.length <= this.reach) return text;
    const length = part => Array.from(part).length;
    const first = length(text.slice(0, text.indexOf(this.mask_token)));
    const last = length(text.slice(0, text.lastIndexOf(this.mask_token)));
    if (last - first > this.reach) throw this.masksLost();
    const stop = last + length(this.mask_token) + this.reach;
    return characters.slice(Math.max(0, first - this.reach), stop).join("");
  }

  window(all) {
    if (all.length <= this.room) return [0, all.length];
    const first = all.indexOf(this.mask_id), last = all.lastIndexOf(this.mask_id);
    if (last - first >= this.room) throw this.masksLost();
    const centred = Math.floor((first + last) / 2) - Math.floor(this.room / 2);
    const start = Math.max(0, Math.min(Math.max(centred, last - this.room + 1), all.length - this.room));
    return [start, start + this.room];
  }

  masksLost() {
    return new TextError(`The masks are too far apart: the model reads ${this.max_length} tokens at once. Mask fewer.`);
  }

  /** The id that a word has in place of a text's mask, counted from 0; undefined where it is no single token. */
  tokenThere(encoded, mask, word) {
    const parts = encoded.source.split(this.mask_token);
    const around = [parts.slice(0, mask + 1), parts.slice(mask + 1)].map(each => each.join(this.mask_token));
    const ids = this.ids(around[0] + word + around[1]), at = encoded.start + encoded.positions[mask] - this.prefix.length;
    const same = ids.length === encoded.all.length && ids.every((id, index) => index === at || id === encoded.all[index]);
    return same && !this.unknown.includes(ids[at]) ? ids[at] : undefined;
  }
}

const int64 = (values, shape) => new ort.Tensor("int64", BigInt64Array.from(values, BigInt), shape);

const gapOf = (one, other) => (one === other ? 0 : Number.isNaN(one - other) ? Infinity : Math.abs(one - other));

/** The graph in onnxruntime, which answers one text at a time. */
class Model {
  static async open(part, page) {
    ort.env.logLevel = "error";
    ort.env.wasm.numThreads = 1; // more would ask the server for cross-origin isolation
    ort.env.wasm.wasmBinary = (await part("wasm")).buffer;
    const externalData = [];
    for (const [index, path] of page.weights.entries()) externalData.push({ path, data: await part(`weights-${index}`) });
    const model = new Model();
    model.session = await ort.InferenceSession.create(await part("graph"), {
      externalData, executionProviders: ["wasm"], enableMemPattern: false, logSeverityLevel: 3,
    });
    return model;
  }

  /** Outputs by name, each a list with an entry for every mask; `targets` holds ids to rate, as many for each mask. */
  async run(input_ids, positions, targets, top_k) {
    const masks = positions.length;
    const outputs = await this.session.run({
      input_ids: int64(input_ids, [1, input_ids.length]),
      mask_positions: int64(positions, [1, masks]),
      target_ids: int64(targets.flat(), [1, masks, targets[0].length]),
      top_k: int64([top_k], [1]),
    });
    return Object.fromEntries(Object.entries(outputs).map(([name, tensor]) => {
      const values = Array.from(tensor.data, Number), size = values.length / masks;
      return [name, positions.map((_, mask) => values.slice(mask * size, (mask + 1) * size))];
    }));
  }

  /** The largest difference, nats, from what a text's tokens had where the model was exported. */
  async difference(golden) {
    const { target_logprobs } = await this.run(golden.input_ids, golden.mask_positions, golden.top_ids, 1);
    const gaps = golden.top_logprobs.flatMap((row, mask) => row.map(
      (logprob, place) => gapOf(logprob ?? -Infinity, target_logprobs[mask][place])));
    return Math.max(...gaps);
  }
}

/** What the model says at each mask of a text; `words` has for each mask the word that was hidden there, or "". */
async function fillMasks(model, encoder, tokens, text, words, topK) {
  const encoded = encoder.encode(text);
  if (!encoded.positions.length) throw new TextError("Nothing is hidden yet: choose a word of the sentence.");
  const hidden = encoded.positions.map((_, mask) => (words[mask] ? encoder.tokenThere(encoded, mask, words[mask]) : undefined));
  const outputs = await model.run(encoded.input_ids, encoded.positions, hidden.map(id => [id ?? 0]), topK);
  if (outputs.top_logprobs.flat().some(Number.isNaN)) throw new TextError("The model's scores are no numbers here.");
  const masks = encoded.positions.map((_, mask) => ({
    entropy: outputs.entropy[mask][0],
    predictions: outputs.top_ids[mask].map((token, place) => (
      { token, token_str: tokens[token], score: Math.exp(outputs.top_logprobs[mask][place]) })),
    word: words[mask] ?? "",
    ...(hidden[mask] !== undefined && {
      rank: outputs.target_ranks[mask][0], score: Math.exp(outputs.target_logprobs[mask][0]),
    }),
  }));
  return { masks, truncated: encoded.truncated };
}
