"use strict";
// Where each head looks. What is shown follows from `state`; everything that is drawn is drawn by `show`.

const at = id => document.getElementById(id);
const view = JSON.parse(at("view").textContent);
const { tokens, layers, heads, masks } = view;
const count = tokens.length;
const MOST = 4095; // weights are whole numbers of 12 bits
const FAINTEST = 0.01, FAINTEST_OF_ALL = 0.04, MOST_LINES = 2500;
const dark = matchMedia("(prefers-color-scheme: dark)");

const state = {
  row: 0, column: 0, // indices of the layer and the head
  kept: masks.length ? { side: "query", place: masks[0] } : null, // the token that was chosen
  near: null, // the one that is pointed at or has the focus, and perhaps the key it is asked about
  stretched: false,
};

// --- numbers

/** Two weights lie in three bytes. */
function unpacked(text, length) {
  const bytes = atob(text), numbers = new Uint16Array(length);
  for (let i = 0, j = 0; i < length; i += 2, j += 3) {
    const middle = bytes.charCodeAt(j + 1);
    numbers[i] = bytes.charCodeAt(j) << 4 | middle >> 4;
    if (i + 1 < length) numbers[i + 1] = (middle & 15) << 8 | bytes.charCodeAt(j + 2);
  }
  return numbers;
}
const weights = unpacked(at("weights").textContent, layers.length * heads.length * count * count);
const weight = (row, column, query, key) =>
  weights[((row * heads.length + column) * count + query) * count + key] / MOST;
const shown = (query, key) => weight(state.row, state.column, query, key);
const percent = share => share > 0 && share < 0.0005 ? "< 0.1\u00a0%" : `${(100 * share).toFixed(1)}\u00a0%`;

/** How much a token looks at, or is looked at by, each token in the head that is shown. */
const shares = ({ side, place }) => tokens.map((_, other) => side === "query" ? shown(place, other) : shown(other, place));

// --- colours

let ramp;
const readRamp = () => {
  ramp = (dark.matches ? view.dark : view.light).match(/../g).map(byte => parseInt(byte, 16));
};
const level = share => 3 * Math.round(255 * (state.stretched ? Math.sqrt(share) : share));
const colour = share => `rgb(${ramp.slice(level(share), level(share) + 3).join(" ")})`;
/** Black or white, whichever stands out on a weight's colour. */
const inkOn = share => {
  const [red, green, blue] = ramp.slice(level(share), level(share) + 3);
  return 0.3 * red + 0.59 * green + 0.11 * blue > 140 ? "#111" : "#fff";
};
const paint = (element, share) => {
  element.style.background = colour(share);
  element.style.color = inkOn(share);
};

function drawMap(canvas, row, column) {
  canvas.width = canvas.height = count;
  const image = new ImageData(count, count), first = (row * heads.length + column) * count * count;
  for (let cell = 0; cell < count * count; cell++) {
    const from = level(weights[first + cell] / MOST);
    image.data.set([ramp[from], ramp[from + 1], ramp[from + 2], 255], 4 * cell);
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

// --- elements

function made(name, properties = {}, ...children) {
  const { dataset = {}, ...rest } = properties;
  const element = Object.assign(document.createElement(name), rest);
  Object.assign(element.dataset, dataset);
  element.append(...children);
  return element;
}
const isolated = text => made("bdi", { dir: "auto", textContent: text });
const quoted = place => `“${tokens[place]}”`;
const number = place => view.first + place + 1;

/** Arrow keys move the focus among elements in rows of `width`; the Tab key finds one of them only. */
function roving(items, width) {
  items.forEach((item, index) => {
    item.tabIndex = index ? -1 : 0;
    item.addEventListener("focus", () => items.forEach(other => { other.tabIndex = other === item ? 0 : -1; }));
    item.addEventListener("keydown", event => {
      const steps = {
        ArrowLeft: -1, ArrowRight: 1, ArrowUp: -width, ArrowDown: width, Home: -index, End: items.length - 1 - index,
      };
      const next = items[index + steps[event.key]];
      if (!next) return;
      event.preventDefault();
      next.focus();
    });
  });
}

const thumbnails = layers.map((layer, row) => heads.map((head, column) => {
  const button = made("button", { type: "button", title: `Layer ${layer}, head ${head}` }, document.createElement("canvas"));
  button.setAttribute("aria-label", button.title);
  const choose = () => change({ row, column });
  button.addEventListener("focus", choose);
  button.addEventListener("click", () => {
    choose();
    if (!matchMedia("(min-width: 68rem)").matches) at("one").scrollIntoView();
  });
  return button;
}));

function buildGrid() {
  const label = text => made("span", { textContent: text, ariaHidden: "true" });
  at("grid").style.gridTemplateColumns = `max-content repeat(${heads.length}, minmax(24px, 4.5rem))`;
  at("grid").append(label(""), ...heads.map(label));
  layers.forEach((layer, row) => at("grid").append(label(layer), ...thumbnails[row]));
  roving(thumbnails.flat(), heads.length);
}

function tokenButtons(side) {
  const buttons = tokens.map((token, place) => {
    const text = isolated(token);
    if (masks.includes(place)) text.className = "mask";
    const button = made("button", { type: "button", title: `${token}, token ${number(place)}` }, text);
    button.append(made("span", { className: "share" }));
    const same = other => other && other.side === side && other.place === place;
    button.addEventListener("pointerenter", () => change({ near: { side, place } }));
    button.addEventListener("pointerleave", () => change({ near: null }));
    button.addEventListener("focus", () => change({ near: { side, place } }));
    button.addEventListener("blur", () => change({ near: null }));
    button.addEventListener("click", () => change({ kept: same(state.kept) ? null : { side, place }, near: null }));
    return button;
  });
  roving(buttons, 1);
  return buttons;
}
const buttons = { query: tokenButtons("query"), key: tokenButtons("key") };

function buildLooks() {
  at("looks").classList.toggle("dense", count > 40);
  at("queries").append(...buttons.query.map(button => made("li", {}, button)));
  at("keys").append(...buttons.key.map(button => made("li", {}, button)));
  at("lines").setAttribute("viewBox", `0 0 100 ${count}`);
}

function buildMap() {
  const cell = count <= 12 ? 30 : count <= 20 ? 24 : count <= 40 ? 17 : 13;
  at("map").style.setProperty("--cell", `${cell}px`);
  at("map").classList.toggle("dense", count > 40);
  for (const id of ["map-keys", "map-queries"])
    at(id).append(...tokens.map(token => made("span", { title: token }, isolated(token))));
  const canvas = at("weights-map");
  canvas.style.width = canvas.style.height = `${count * cell}px`;
  const placeOf = offset => Math.max(0, Math.min(count - 1, Math.floor(offset / cell)));
  const pointed = event => ({ side: "query", place: placeOf(event.offsetY), key: placeOf(event.offsetX) });
  canvas.addEventListener("pointermove", event => change({ near: pointed(event) }));
  canvas.addEventListener("pointerleave", () => change({ near: null }));
  canvas.addEventListener("click", event => change({ kept: { side: "query", place: pointed(event).place } }));
}

function buildThrough() {
  const names = tokens.map((token, place) => {
    const name = made("span", { textContent: token, title: token, className: masks.includes(place) ? "mask" : "" });
    return Object.assign(made("th", {}, name), { scope: "col" });
  });
  at("through").tHead.append(made("tr", {}, made("th", { textContent: "layer", scope: "col" }), ...names));
  at("through").tBodies[0].append(...layers.map(layer => made(
    "tr", {}, made("th", { textContent: layer, scope: "row" }), ...tokens.map(() => made("td")))));
  at("through").classList.toggle("dense", count > 40);
  at("through").style.width = count > 40 ? "" : `min(100%, ${4 + 5 * count}rem)`;
  at("token").append(...tokens.map((token, place) =>
    made("option", { value: place, textContent: `${number(place)}  ${token}` })));
}

function buildControls() {
  at("layer").append(...layers.map((layer, row) => made("option", { value: row, textContent: layer })));
  at("head").append(...heads.map((head, column) => made("option", { value: column, textContent: head })));
  at("layer").addEventListener("change", event => change({ row: Number(event.target.value) }));
  at("head").addEventListener("change", event => change({ column: Number(event.target.value) }));
  at("token").addEventListener("change", event => change({ kept: { side: "query", place: Number(event.target.value) } }));
  at("of-heads").addEventListener("change", () => change({}));
  at("release").addEventListener("click", () => change({ kept: null }));
  at("stretched").addEventListener("change", event => { state.stretched = event.target.checked; showAll(); });
  document.addEventListener("keydown", event => { if (event.key === "Escape") change({ kept: null, near: null }); });
  dark.addEventListener("change", showAll);
  addEventListener("hashchange", () => { readAddress(); show(); });
}

// --- what is shown

function change(differences) {
  Object.assign(state, differences);
  show();
}

function show() {
  const asked = state.near || state.kept;
  const title = `Layer ${layers[state.row]}, head ${heads[state.column]}`;
  at("one-title").textContent = title;
  at("weights-map").setAttribute("aria-label", `Heat map of ${title}; the list of tokens has its numbers`);
  at("layer").value = state.row;
  at("head").value = state.column;
  at("release").disabled = !state.kept;
  thumbnails.flat().forEach(button => button.setAttribute("aria-pressed", button.title === title));
  drawMap(at("weights-map"), state.row, state.column);
  at("said").textContent = said(asked);
  showTokens(asked);
  showLines(asked);
  showMarks(asked);
  showThrough(asked);
  writeAddress();
}

function said(asked) {
  if (!asked) return "Point at a token to see where it looks, or move to it with the Tab and arrow keys. A click or Enter keeps it.";
  if (asked.key !== undefined)
    return `${quoted(asked.place)} looks at ${quoted(asked.key)}: ${percent(shown(asked.place, asked.key))}.`;
  const found = shares(asked), order = found.map((_, place) => place).sort((a, b) => found[b] - found[a]);
  const named = order.slice(0, 5).filter(place => found[place] >= 0.0005);
  const list = named.map(place => `${quoted(place)} ${percent(found[place])}`).join(", ");
  const elsewhere = 1 - found.reduce((sum, share) => sum + share, 0);
  const left = view.total > count && asked.side === "query" ? `; tokens left out have ${percent(Math.max(0, elsewhere))}` : "";
  return `${quoted(asked.place)} ${asked.side === "query" ? "looks at" : "is looked at by"} ${list || "none of these tokens"}${left}.`;
}

function showTokens(asked) {
  const found = asked && shares(asked);
  at("looks").classList.toggle("asking", Boolean(asked));
  at("looks").classList.toggle("from-query", asked?.side === "query");
  at("looks").classList.toggle("from-key", asked?.side === "key");
  for (const side of ["query", "key"]) buttons[side].forEach((button, place) => {
    const kept = state.kept?.side === side && state.kept.place === place;
    button.classList.toggle("active", asked?.side === side && asked.place === place);
    button.setAttribute("aria-pressed", kept);
    const share = button.lastChild;
    share.textContent = asked && asked.side !== side ? percent(found[place]) : "";
    if (share.textContent) paint(share, found[place]);
  });
}

function showLines(asked) {
  const lines = [];
  for (let query = 0; query < count; query++) for (let key = 0; key < count; key++) {
    const share = shown(query, key);
    if (asked && (asked.side === "query" ? query : key) !== asked.place) continue;
    if (share >= (asked ? FAINTEST : FAINTEST_OF_ALL)) lines.push([share, query + 0.5, key + 0.5]);
  }
  lines.sort((a, b) => a[0] - b[0]); // the strongest on top
  at("lines").replaceChildren(...lines.slice(-MOST_LINES).map(([share, from, to]) => {
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", `M0 ${from}C45 ${from} 55 ${to} 100 ${to}`);
    path.setAttribute("stroke-width", (0.8 + 5 * share).toFixed(2));
    path.setAttribute("stroke-opacity", (state.stretched ? Math.sqrt(share) : Math.min(1, 0.08 + share)).toFixed(3));
    return path;
  }));
}

function showMarks(asked) {
  const query = asked?.side === "query" ? asked.place : undefined, key = asked?.side === "key" ? asked.place : asked?.key;
  const mark = (id, names, place, side) => {
    at(id).hidden = place === undefined;
    at(id).style[side] = `calc(var(--cell) * ${place ?? 0})`;
    [...at(names).children].forEach((name, index) => name.classList.toggle("active", index === place));
  };
  mark("row-mark", "map-queries", query, "top");
  mark("column-mark", "map-keys", key, "left");
}

/** Of each layer: how much a token looks at a key, and in which head. */
function inLayer(row, query, key) {
  const each = heads.map((_, column) => weight(row, column, query, key));
  if (at("of-heads").value === "mean") return [each.reduce((sum, share) => sum + share, 0) / each.length, "the mean of its heads"];
  const most = Math.max(...each);
  return [most, `head ${heads[each.indexOf(most)]}`];
}

let through; // the token and the choice that the table shows
function showThrough(asked) {
  const query = asked?.side === "query" ? asked.place : state.kept?.side === "query" ? state.kept.place : Number(at("token").value);
  const wanted = [query, at("of-heads").value, state.stretched, dark.matches].join();
  if (wanted === through) return;
  through = wanted;
  at("token").value = query;
  [...at("through").tBodies[0].rows].forEach((line, row) => [...line.cells].slice(1).forEach((cell, key) => {
    const [share, where] = inLayer(row, query, key);
    cell.textContent = Math.round(100 * share) || "";
    cell.title = `Layer ${layers[row]}, ${where}: ${quoted(query)} looks at ${quoted(key)}, ${percent(share)}`;
    paint(cell, share);
  }));
}

function showAll() {
  readRamp();
  thumbnails.forEach((line, row) => line.forEach((button, column) => drawMap(button.firstChild, row, column)));
  const scale = at("scale").getContext("2d");
  for (let place = 0; place < 256; place++) {
    scale.fillStyle = colour(place / 255);
    scale.fillRect(place, 0, 1, 1);
  }
  show();
}

// --- the address holds the layer, the head and the token, so that a link leads to them

function readAddress() {
  const asked = new URLSearchParams(location.hash.slice(1));
  const index = (numbers, name, otherwise) => {
    const found = numbers.indexOf(Number(asked.get(name)));
    return found < 0 ? otherwise : found;
  };
  state.row = index(layers, "layer", state.row);
  state.column = index(heads, "head", state.column);
  for (const side of ["query", "key"]) {
    const place = Number(asked.get(side)) - view.first - 1;
    if (asked.has(side) && tokens[place] !== undefined) state.kept = { side, place };
  }
}

function writeAddress() {
  const kept = state.kept ? `&${state.kept.side}=${number(state.kept.place)}` : "";
  const address = `#layer=${layers[state.row]}&head=${heads[state.column]}${kept}`;
  if (address !== location.hash) history.replaceState(null, "", address);
}

buildGrid();
buildLooks();
buildMap();
buildThrough();
buildControls();
readAddress();
showAll();
