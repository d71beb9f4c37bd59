import { ask, byId, row, shownTime, word } from "./studio.js";

const COMMON = new Set(["when", "who", "address", "what", "outcome"]);

function shown(value) {
  if (value === null || value === undefined) return "–";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

function outcome(line) {
  const key = `history.outcome_${line.outcome}`;
  const text = word(key);
  return text === key ? line.outcome : text;
}

function details(line) {
  const rest = Object.entries(line).filter(([name]) => !COMMON.has(name));
  return rest.map(([name, value]) => `${name} ${shown(value)}`).join(", ");
}

const answer = await ask("/history/lines");
if (answer !== null) {
  for (const line of answer.lines) {
    const cells = [shownTime(line.when), line.who, line.address, line.what, outcome(line), details(line)];
    byId("lines").append(row(cells));
  }
  for (const one of answer.changes) {
    const cells = [shownTime(one.when), one.bundle, one.by, one.what, one.detail, shown(one.version)];
    byId("changes").append(row(cells));
  }
}
