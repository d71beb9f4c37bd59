// Rows are chosen with the arrow keys and marked with a letter, so that a shift is looked through
// without the mouse.
import { ask, byId, command, number, row, say, setText, shownTime, word } from "./studio.js";

const KEYS = { g: "good", d: "defective", i: "ignored" };
const CHOICES = ["camera", "verdict", "marked", "since", "until", "sort"];
const DECIMAL_COMMA = number(0.5, 1).includes(",");
let parts = [];
let skip = 0;
let page = 50;
let current = -1;

function query() {
  const chosen = {};
  for (const id of CHOICES) if (byId(id).value) chosen[id] = byId(id).value;
  return chosen;
}

function markText(part) {
  return part.mark ? word(`parts.${part.mark}`) : "";
}

function verdictOf(part) {
  const text = document.createElement("span");
  text.className = `verdict verdict-${part.verdict}`;
  text.textContent = part.verdict;
  return text;
}

function rowOf(part, index) {
  const score = part.score === null ? "–" : number(part.score, 4);
  const cells = [part.id, shownTime(part.time), part.camera, verdictOf(part), score, markText(part), part.marked_by, part.reason];
  const made = row(cells);
  made.tabIndex = -1;
  made.setAttribute("aria-selected", "false");
  made.addEventListener("click", () => choose(index));
  made.addEventListener("focus", () => index !== current && choose(index));
  return made;
}

function draw() {
  byId("parts").replaceChildren(...parts.map(rowOf));
}

function showPicture() {
  const part = parts[current];
  const picture = byId("picture");
  byId("marks").hidden = false;
  picture.hidden = !part.picture;
  byId("no-picture").hidden = part.picture;
  setText(byId("part-title"), word("parts.part_number", { id: part.id }));
  const score = part.score === null ? "–" : number(part.score, 5);
  const told = [part.verdict, word("parts.score_of", { score }), part.reason, markText(part)];
  setText(byId("part-told"), told.filter(Boolean).join(" · "));
  if (!part.picture) return;
  const drawn = byId("map").getAttribute("aria-pressed") === "true" ? { drawn: 1 } : {};
  picture.alt = word("parts.picture_of", { id: part.id });
  picture.src = `/parts/picture?${new URLSearchParams({ id: part.id, ...drawn })}`;
}

function choose(index) {
  const rows = byId("parts").rows;
  if (!rows.length) return;
  current = Math.min(Math.max(index, 0), rows.length - 1);
  [...rows].forEach((one, at) => {
    one.setAttribute("aria-selected", String(at === current));
    one.tabIndex = at === current ? 0 : -1;
  });
  rows[current].focus({ preventScroll: false });
  showPicture();
}

async function load() {
  const answer = await ask("/parts/list", { ...query(), skip });
  parts = answer?.parts ?? [];
  page = answer?.page ?? page;
  current = -1;
  draw();
  const count = answer?.count ?? 0;
  const last = skip + parts.length;
  setText(byId("found"), word("parts.found", { first: parts.length ? skip + 1 : 0, last, count }));
  byId("before").disabled = skip === 0;
  byId("after").disabled = last >= count;
  const comma = DECIMAL_COMMA ? { comma: 1 } : {};
  byId("csv").href = `/parts/shift.csv?${new URLSearchParams({ ...query(), ...comma })}`;
  if (parts.length) byId("parts").rows[0].tabIndex = 0;
}

async function mark(kind) {
  const part = parts[current];
  if (!part) return;
  const answer = await command("/parts/mark", { ids: [part.id], mark: kind });
  if (answer === null) return;
  [parts[current]] = answer.parts;
  const made = rowOf(parts[current], current);
  byId("parts").rows[current].replaceWith(made);
  say(word("parts.is_marked", { id: part.id, mark: word(`parts.${kind}`) }));
  choose(current + 1);
}

function toggleMap() {
  const button = byId("map");
  button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
  if (current >= 0) showPicture();
}

byId("parts").addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "ArrowDown") choose(current + 1);
  else if (event.key === "ArrowUp") choose(current - 1);
  else if (event.key === "Home") choose(0);
  else if (event.key === "End") choose(parts.length - 1);
  else if (event.key in KEYS) mark(KEYS[event.key]);
  else if (event.key === "m") toggleMap();
  else return;
  event.preventDefault();
});
for (const button of document.querySelectorAll("#marks button[data-mark]")) {
  button.addEventListener("click", () => mark(button.dataset.mark));
}
byId("map").addEventListener("click", toggleMap);
byId("before").addEventListener("click", () => {
  skip = Math.max(0, skip - page);
  load();
});
byId("after").addEventListener("click", () => {
  skip += page;
  load();
});
byId("choice").addEventListener("submit", (event) => {
  event.preventDefault();
  skip = 0;
  load();
});

await load();
