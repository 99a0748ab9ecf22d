// --- the words of a text, by the rule of maskedge.inference.words, each of which can be masked

const IDEOGRAPH = /[㐀-䶿一-鿿豈-\uFAFF\u{20000}-\u{2FA1F}]/u;

function kindOf(character) {
  if (/[\s\p{Cc}]/u.test(character) && character !== "\uFEFF") return "blank";
  if (/[\p{M}\p{Cf}]/u.test(character)) return "attached";
  return /[\p{P}\p{S}]/u.test(character) || IDEOGRAPH.test(character) ? "alone" : "letter";
}

/** Where words begin and end, in UTF-16 units: blanks, punctuation marks and ideographs divide them. */
function wordSpans(text) {
  const spans = [];
  let before = "blank", at = 0;
  for (const character of text) {
    const kind = kindOf(character), start = at;
    at += character.length;
    if (kind === "blank") {
      before = kind;
      continue;
    }
    const begins = kind === "alone" || before === "blank" || (kind === "letter" && before === "alone");
    if (begins) spans.push({ start, stop: at });
    else spans[spans.length - 1].stop = at;
    if (kind !== "attached" || before === "blank") before = kind === "alone" ? "alone" : "letter";
  }
  return spans;
}

const escaped = text => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

/** The masks that a text was written with, and the words between them: { start, stop, isMask }. */
function partsOf(text, spellings) {
  const parts = [];
  let end = 0;
  const words = stop => wordSpans(text.slice(end, stop)).map(
    span => ({ start: span.start + end, stop: span.stop + end, isMask: false }));
  for (const found of text.matchAll(new RegExp(spellings.map(escaped).join("|"), "g"))) {
    parts.push(...words(found.index), { start: found.index, stop: found.index + found[0].length, isMask: true });
    end = found.index + found[0].length;
  }
  return [...parts, ...words(text.length)];
}

/** Spans of a text after it was edited: those that the edit left whole, moved to where they stand now. */
function movedSpans(spans, before, after) {
  const most = Math.min(before.length, after.length);
  let head = 0, tail = 0;
  while (head < most && before[head] === after[head]) head++;
  while (tail < most - head && before[before.length - 1 - tail] === after[after.length - 1 - tail]) tail++;
  const shift = after.length - before.length;
  return spans.flatMap(span => {
    if (span.stop <= head) return [span];
    return span.start >= before.length - tail ? [{ start: span.start + shift, stop: span.stop + shift }] : [];
  });
}
