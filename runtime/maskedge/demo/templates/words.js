// The words of the sentence as buttons. What is masked follows from `props.value`, which is sent with every question.
const line = document.createElement("div");
line.className = "mlm-words";
line.setAttribute("role", "group");
line.setAttribute("aria-label", "Words of the sentence. Press one to mask it, and again to put it back.");
element.replaceChildren(line);

function button(part, masked) {
  const made = document.createElement("button");
  made.type = "button";
  made.dataset.word = part.word;
  made.setAttribute("aria-pressed", masked);
  made.setAttribute("aria-label", masked ? `${part.text}, masked` : part.text);
  made.textContent = part.text; // never as HTML: it is what somebody typed
  return made;
}

function draw() {
  const { parts = [], masked = [] } = props.value || {};
  const focused = line.contains(document.activeElement) ? document.activeElement.dataset.word : undefined;
  line.replaceChildren(...parts.map(part => {
    if (part.word !== null) return button(part, masked.includes(part.word));
    const between = document.createElement("span");
    between.className = part.mask ? "mlm-own-mask" : "";
    between.textContent = part.text;
    return between;
  }));
  if (focused !== undefined) line.querySelector(`[data-word="${focused}"]`)?.focus();
}

let asking = 0;
function ask() { // once for clicks that come at the same time: Gradio would ask for each, and take the answers as they come
  clearTimeout(asking);
  asking = setTimeout(() => trigger("click"), 10);
}

line.addEventListener("click", event => {
  const pressed = event.target.closest("[data-word]");
  if (!pressed) return;
  const word = Number(pressed.dataset.word), { masked } = props.value;
  const others = masked.filter(number => number !== word);
  const now = others.length < masked.length ? others : [...others, word].sort((one, other) => one - other);
  props.value = { ...props.value, masked: now };
  draw();
  ask();
});

watch("value", draw);
draw();
