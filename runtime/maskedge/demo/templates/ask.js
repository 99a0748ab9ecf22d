// Asks the server, and gives what it answers, for the parts of the page that Gradio fills with it. Nothing is given, and
// nothing changes, where the server refuses, or where a newer question about the same place came while this one waited:
// about each place, which has the id `place`, one question is under way at a time.
const newest = {};
const underway = {};
const troubles = {};
const READ_ALOUD = ["filled", "scored"]; // places whose changes a screen reader tells

async function ask(question, place, values) {
  const mine = (newest[place] = Symbol());
  await underway[place];
  if (newest[place] !== mine) return [];
  const shown = document.getElementById(place);
  if (READ_ALOUD.includes(place)) shown?.setAttribute("aria-live", "polite");
  shown?.setAttribute("aria-busy", "true");
  underway[place] = answer(question, place, values);
  const found = await underway[place];
  if (newest[place] === mine) shown?.removeAttribute("aria-busy");
  return found;
}

async function answer(question, place, values) {
  const body = JSON.stringify(values);
  try {
    const said = await fetch(`ask/${question}`, { method: "POST", headers: { "Content-Type": "application/json" }, body });
    const found = await said.json();
    tell(place, said.ok ? "" : found.detail);
    return said.ok ? found : [];
  } catch {
    tell(place, "The server does not answer.");
    return [];
  }
}

// What went wrong, until the next question about the same place is answered.
function tell(place, trouble) {
  troubles[place] = trouble;
  const line = document.querySelector("#trouble p");
  line.textContent = [...new Set(Object.values(troubles))].join(" ").trim();
  line.hidden = !line.textContent;
}
