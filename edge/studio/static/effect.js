// What a proposal changes: a table by kinds, and each part whose verdict is another.
import { byId, number, row, setText, word } from "./studio.js";

function line(text) {
  const item = document.createElement("li");
  item.textContent = text;
  return item;
}

function score(value) {
  return value === null ? "–" : number(value, 4);
}

/** The address of a changed part's picture; what lies in the bundle has none. */
function pictureOf(part) {
  if (part.kind === "drawn" || part.name.includes("/")) return "";
  return `/teach/picture?${new URLSearchParams({ kind: part.kind, name: part.name })}`;
}

/** Draw it into the elements that every such page has. */
export function drawEffect(proposal) {
  byId("proposal").hidden = proposal === null;
  if (proposal === null) return;
  const rows = proposal.rows.map((one) => row([word(`studio.effect_${one.kind}`), number(one.parts), number(one.before), number(one.after)]));
  byId("effect").replaceChildren(...rows);
  byId("problems").replaceChildren(...proposal.problems.map(line));
  byId("has-problems").hidden = proposal.problems.length === 0;
  setText(byId("changed-told"), word("studio.changed", { count: proposal.changed.length }));
  const changed = proposal.changed.map((one) => {
    const cells = [pictureCell(one, pictureOf(one)), one.name, word(`studio.effect_${one.kind}`), `${one.before} → ${one.after}`, `${score(one.score_before)} → ${score(one.score_after)}`];
    return row(cells);
  });
  byId("changed").replaceChildren(...changed);
  if (byId("typed")) byId("typed").value = "";
  if (byId("consent")) byId("consent").checked = false;
}

function pictureCell(one, address) {
  if (!address) return "";
  const image = document.createElement("img");
  image.className = "small";
  image.alt = one.name;
  image.src = address;
  image.addEventListener("error", () => image.remove());
  return image;
}
