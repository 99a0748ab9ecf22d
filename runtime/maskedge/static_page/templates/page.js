// --- the page: what is written and hidden, and what the model says of it

const MOST_WORDS = 600; // that can be chosen; a longer text is answered all the same
const UNHURRIED = 150; // ms without a key, after which the model is asked
const page = JSON.parse(document.getElementById("page").textContent);
const at = id => document.getElementById(id);
const state = { text: at("sentence").value, hidden: [], focus: 0 };
let ask = () => {}; // until the model is there

function made(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

/** A text without what a reader cannot see, or what would turn the text beside it around. */
const shown = text => text.replace(/[\p{Cs}\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/gu, "\uFFFD");
const isolated = text => made("bdi", { textContent: shown(text) });
const percent = share => (share < 0.0005 ? "< 0.1\u00a0%" : `${(100 * share).toFixed(1)}\u00a0%`);
const count = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;

// --- what is hidden

function allMasks() {
  const written = partsOf(state.text, page.mask_spellings).filter(part => part.isMask);
  return [...written, ...state.hidden].sort((one, other) => one.start - other.start);
}

function maskedText() {
  return around(allMasks(), () => page.mask_token).join("");
}

/** The text in pieces: what stands between spans as it is, and what `instead` gives for each span and its number. */
function around(spans, instead) {
  const pieces = [];
  let end = 0;
  spans.forEach((span, number) => {
    pieces.push(state.text.slice(end, span.start), instead(span, number, state.text.slice(0, span.start)));
    end = span.stop;
  });
  return [...pieces, state.text.slice(end)];
}

function toggle(span) {
  const others = state.hidden.filter(one => one.start !== span.start);
  state.hidden = others.length < state.hidden.length ? others : [...others, { start: span.start, stop: span.stop }];
  showWords();
  ask();
}

function wordButton(span, place) {
  const word = state.text.slice(span.start, span.stop);
  const pressed = state.hidden.some(one => one.start === span.start);
  const button = made("button", { type: "button", tabIndex: place === state.focus ? 0 : -1 }, isolated(word));
  button.setAttribute("aria-pressed", pressed);
  button.addEventListener("click", () => {
    state.focus = place;
    toggle(span);
    at("words").querySelectorAll("button")[place]?.focus();
  });
  return button;
}

function showWords() {
  const parts = partsOf(state.text, page.mask_spellings), few = parts.slice(0, MOST_WORDS);
  const words = few.filter(part => !part.isMask);
  state.focus = Math.max(0, Math.min(state.focus, words.length - 1));
  at("words").replaceChildren(...around(few, part => (part.isMask
    ? made("span", { className: "written", textContent: page.mask_token })
    : wordButton(part, words.indexOf(part)))).map(piece => (typeof piece === "string" ? shown(piece) : piece)));
  at("words").hidden = !parts.length;
  at("words-hint").textContent = parts.length > MOST_WORDS
    ? `The first ${MOST_WORDS} words can be chosen here; write ${page.mask_token} to hide others.`
    : `Choose the words to hide, or write ${page.mask_token} yourself.`;
  at("release").disabled = !state.hidden.length;
}

function moveAlong(event) {
  const buttons = [...at("words").querySelectorAll("button")], last = buttons.length - 1;
  const places = { ArrowRight: state.focus + 1, ArrowLeft: state.focus - 1, Home: 0, End: last };
  if (!(event.key in places)) return;
  event.preventDefault();
  buttons[state.focus].tabIndex = -1;
  state.focus = Math.max(0, Math.min(last, places[event.key]));
  buttons[state.focus].tabIndex = 0;
  buttons[state.focus].focus();
}

// --- what the model says

/** A guess as it stands after the text before it: a piece that goes on a word, or a word with its own blank. */
function fitting(before, token) {
  if (token.startsWith("##")) return { joins: true, text: token.slice(2) };
  return { joins: false, text: /(^|\s)$/.test(before) ? token.trimStart() : token };
}

function showFilled(masks) {
  const pieces = around(allMasks(), (span, number, before) => {
    const guess = fitting(before, masks[number]?.predictions[0]?.token_str ?? page.mask_token);
    return made("mark", { textContent: shown(guess.text), className: guess.joins ? "joins" : "" });
  });
  const joined = pieces.map((piece, index) => (
    typeof piece === "string" ? shown(pieces[index + 1]?.className === "joins" ? piece.trimEnd() : piece) : piece));
  at("filled").replaceChildren(...joined);
  at("filled").hidden = false;
}

function guessLine({ token_str, score }) {
  const bar = made("i");
  bar.style.width = `${100 * score}%`;
  const name = isolated(token_str.replace(/^ +| +$/g, blanks => "▁".repeat(blanks.length)));
  name.title = name.textContent;
  const track = made("span", { className: "bar" }, bar);
  track.setAttribute("aria-hidden", "true");
  return made("li", {}, name, track, made("data", { value: score, textContent: percent(score) }));
}

function unsureLine(entropy) {
  const choices = Math.exp(entropy), digits = choices < 100 ? 1 : 0;
  const rounded = choices.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  const number = made("data", { value: entropy }, made("b", { textContent: rounded }));
  const said = `Entropy ${entropy.toFixed(2)} nats: as unsure as between `;
  return made("p", { className: "said unsure" }, said, number, " equally likely tokens");
}

function hiddenLine({ word, rank, score }) {
  const quoted = [isolated("“"), made("b", {}, isolated(word)), "”"];
  if (rank === undefined) return made("p", { className: "said hidden" }, ...quoted, " is no single token of this model");
  const place = `${rank === 1 ? "the best guess" : `guess number ${rank.toLocaleString("en")}`}`;
  return made("p", { className: "said hidden" }, ...quoted, ` is ${place}: `, made("data", { value: score, textContent: percent(score) }));
}

function maskArticle(mask, number, total) {
  const title = made("h3", { id: `mask-${number}`, textContent: total > 1 ? `Blank ${number + 1}` : "The blank" });
  const guesses = made("ol", { className: "guesses" }, ...mask.predictions.map(guessLine));
  guesses.setAttribute("aria-labelledby", title.id);
  const lines = [unsureLine(mask.entropy), ...(mask.word ? [hiddenLine(mask)] : [])];
  return made("article", {}, title, guesses, ...lines);
}

function showAnswer({ masks, truncated }, duration) {
  const cut = truncated ? ` The text is longer than the model’s ${page.max_length} tokens: it read what is around the blanks.` : "";
  say(`${count(masks.length, "blank")} filled in ${Math.max(1, Math.round(duration))} ms.${cut}`);
  showFilled(masks);
  at("masks").replaceChildren(...masks.map((mask, number) => maskArticle(mask, number, masks.length)));
}

/** Whether an answer is on its way. */
function setBusy(busy) {
  at("answer").setAttribute("aria-busy", busy);
}

function say(message) {
  at("status").textContent = message;
}

function clear(message) {
  say(message);
  at("filled").hidden = true;
  at("masks").replaceChildren();
}

function note(message) {
  at("notice").textContent = message;
  at("notice").hidden = false;
}

// --- from the file to the model

/** A file of the page: within it, or beside it. */
async function part(name) {
  const inside = at(`part-${name}`);
  const packed = inside ? unpacked64(inside.textContent) : await fetched(`parts/${name}.gz`);
  inside?.remove(); // megabytes that nobody reads again
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function fetched(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`${address}: ${answer.status}`);
  return answer.arrayBuffer();
}

function unpacked64(text) {
  const characters = atob(text), bytes = new Uint8Array(characters.length);
  for (let index = 0; index < bytes.length; index++) bytes[index] = characters.charCodeAt(index);
  return bytes;
}

const readJson = async name => JSON.parse(new TextDecoder().decode(await part(name)));

/** What is not here as it was where the model was exported: this browser's arithmetic, or its tokenizer. */
async function checkAgainstExport(model, encoder) {
  const difference = page.golden ? await model.difference(page.golden) : 0;
  if (difference > page.tolerance)
    note(`This browser computes the model otherwise than where it was made, by ${difference.toFixed(2)} nats: do not trust its guesses.`);
  const other = page.probes.filter(({ text, ids }) => encoder.ids(text).join() !== ids.join());
  if (other.length)
    note(`This page reads ${other.length} of ${page.probes.length} test texts otherwise than the model was taught: do not trust its guesses.`);
}

/** Asks when the model is free, and about the newest text only. */
function asker(model, encoder, tokens) {
  let busy = false, again = false;
  return async function askNow() {
    again = true;
    setBusy(true);
    if (busy) return;
    busy = true;
    while (again) {
      again = false;
      const words = allMasks().map(span => (span.isMask ? "" : state.text.slice(span.start, span.stop)));
      try {
        if (!state.text.trim()) throw new TextError("Write a sentence first.");
        const began = performance.now();
        const answer = await fillMasks(model, encoder, tokens, maskedText(), words, Number(at("top-k").value));
        showAnswer(answer, performance.now() - began);
      } catch (error) {
        clear(error instanceof TextError ? error.message : `The model cannot read this: ${error.message ?? error}`);
      }
    }
    busy = false;
    setBusy(false);
  };
}

function listen() {
  let timer;
  at("sentence").addEventListener("input", event => {
    state.hidden = movedSpans(state.hidden, state.text, event.target.value);
    state.text = event.target.value;
    showWords();
    setBusy(true);
    clearTimeout(timer);
    timer = setTimeout(() => ask(), UNHURRIED);
  });
  at("words").addEventListener("keydown", moveAlong);
  at("top-k").addEventListener("change", () => ask());
  at("release").addEventListener("click", () => {
    state.hidden = [];
    showWords();
    ask();
  });
}

async function start() {
  at("top-k").append(...page.top_k.map(number => made("option", { value: number, textContent: number })));
  at("top-k").value = page.top_k.includes(5) ? 5 : page.top_k.at(-1);
  state.hidden = wordSpans(state.text).slice(3, 4); // something to see at once
  showWords();
  listen();
  try {
    const model = await Model.open(part, page);
    const tokens = await readJson("tokens");
    const tokenizer = new libraries.Tokenizer(await readJson("tokenizer"), await readJson("tokenizer-config"));
    const encoder = new MaskEncoder(page, tokenizer);
    await checkAgainstExport(model, encoder);
    ask = asker(model, encoder, tokens);
    await ask();
  } catch (error) {
    clear(location.protocol === "file:" && page.beside
      ? "A browser reads this page’s files from a web server only: run python3 -m http.server in its directory, and open http://localhost:8000"
      : `The model could not be loaded: ${error.message ?? error}`);
  }
  setBusy(false);
}

start();
