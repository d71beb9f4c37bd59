// Counts what a threshold would do by the rule of the inspector: both sides as float32.
import { ask, byId, command, number, say, setText, word } from "./studio.js";
import { followJob } from "./job.js";

const SVG = "http://www.w3.org/2000/svg";
const LEFT = 60;
const RIGHT = 880;
const TOP = 24;
const FLOOR = 200; // of the histogram; rows of single parts are below
const ROWS = { "marked-good": 245, "marked-defective": 265, drawn: 285 };
const BINS = 60;
const SHOWN = 4; // pictures on each side of the threshold
const WRONG = 12;
const SETTLED_MS = 250;

let scores = null;
let range = [0, 1];
let settled = 0;

const reaches = (score, threshold) => Math.fround(score) >= Math.fround(threshold);
const bundle = () => byId("bundle").value;
const marked = (mark) => scores.marked.filter((part) => part.mark === mark);

/** What `edge review try` counts. */
function countsAt(threshold) {
  const rejected = scores.good.filter((score) => reaches(score, threshold)).length;
  const isKept = scores.good.length === scores.good_images;
  const good = marked("good");
  const defective = marked("defective");
  let passed = null;
  if (scores.drawn.length > 0) {
    const low = scores.drawn.filter((score) => !reaches(score, threshold)).length;
    passed = Math.round((low * scores.drawn_count) / scores.drawn.length);
  } else if (scores.drawn_passed_at && Math.fround(scores.drawn_passed_at[0]) === Math.fround(threshold)) {
    passed = scores.drawn_passed_at[1];
  }
  return {
    rejected,
    isAtLeast: !isKept && rejected === scores.good.length,
    bound: scores.bounds[rejected],
    good: good.length,
    goodRejected: good.filter((part) => reaches(part.score, threshold)).length,
    defective: defective.length,
    defectivePassed: defective.filter((part) => !reaches(part.score, threshold)).length,
    passed,
  };
}

function share(count, of) {
  return word("scores.of", { count: number(count), of: number(of) });
}

function showCounts(threshold) {
  const found = countsAt(threshold);
  const atLeast = found.isAtLeast ? "≥ " : "";
  setText(byId("good-rejected"), scores.good_images ? atLeast + share(found.rejected, scores.good_images) : "–");
  const bound = found.isAtLeast || !scores.good_images ? "–" : `≤ ${number(100 * found.bound, 2)} %`;
  setText(byId("bound"), bound);
  setText(byId("marked-good-rejected"), share(found.goodRejected, found.good));
  setText(byId("marked-defective-passed"), share(found.defectivePassed, found.defective));
  const drawn = found.passed === null ? word("scores.not_known") : share(found.passed, scores.drawn_count);
  setText(byId("drawn-passed"), drawn);
}

function made(name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

/** From the lowest score to beyond what a threshold may be; farther ones stand at the edge. */
function findRange() {
  const all = [...scores.good, ...scores.drawn, ...scores.marked.map((part) => part.score), scores.threshold];
  const low = Math.min(...all);
  const near = Math.max(...(scores.good.length ? scores.good : all), scores.threshold);
  const high = Math.min(Math.max(...all), low + 3 * (near - low));
  const margin = 0.03 * (high - low) || 0.05 * Math.abs(high) || 1;
  return [low - margin, high + margin];
}

const place = (score) => LEFT + (Math.min(Math.max((score - range[0]) / (range[1] - range[0]), 0), 1) * (RIGHT - LEFT));

function drawChart() {
  const chart = byId("chart");
  const bins = new Array(BINS).fill(0);
  for (const score of scores.good) {
    const bin = Math.floor(((score - range[0]) / (range[1] - range[0])) * BINS);
    bins[Math.min(Math.max(bin, 0), BINS - 1)] += 1;
  }
  const most = Math.max(1, ...bins);
  const parts = [made("rect", { id: "ng", class: "ng", y: TOP, height: 275, width: 0, x: LEFT })];
  bins.forEach((count, index) => {
    if (!count) return;
    const width = (RIGHT - LEFT) / BINS;
    const height = Math.max(2, (count / most) * (FLOOR - TOP));
    parts.push(made("rect", { class: "good", x: LEFT + index * width + 0.5, y: FLOOR - height, width: width - 1, height }));
  });
  parts.push(made("line", { class: "axis", x1: LEFT, x2: RIGHT, y1: FLOOR, y2: FLOOR }));
  parts.push(made("line", { class: "axis", x1: LEFT, x2: LEFT, y1: TOP, y2: FLOOR }));
  for (const count of new Set([0, Math.round(most / 2), most])) {
    const y = FLOOR - (count / most) * (FLOOR - TOP);
    parts.push(made("text", { x: LEFT - 8, y: y + 4, "text-anchor": "end" }, number(count)));
  }
  parts.push(made("text", { x: 4, y: 14 }, word("scores.axis_images")));
  for (let step = 0; step <= 4; step += 1) {
    const value = range[0] + (step / 4) * (range[1] - range[0]);
    parts.push(made("text", { x: place(value), y: 318, "text-anchor": "middle" }, number(value, 4)));
  }
  parts.push(made("text", { x: RIGHT, y: FLOOR + 18, "text-anchor": "end" }, word("scores.axis_score")));
  for (const part of marked("good")) parts.push(made("circle", { class: "marked-good", cx: place(part.score), cy: ROWS["marked-good"], r: 5 }));
  for (const part of marked("defective")) {
    const x = place(part.score);
    const y = ROWS["marked-defective"];
    parts.push(made("path", { class: "marked-defective", d: `M${x - 5} ${y - 5}l10 10m0 -10l-10 10` }));
  }
  for (const score of scores.drawn) {
    parts.push(made("path", { class: "drawn", d: `M${place(score)} ${ROWS.drawn - 6}l5 10h-10z` }));
  }
  const own = place(scores.threshold);
  parts.push(made("line", { class: "own", x1: own, x2: own, y1: TOP, y2: 299 }));
  parts.push(made("line", { id: "mark", class: "threshold", y1: TOP, y2: 299 }));
  parts.push(made("text", { id: "mark-told", y: 14 }));
  chart.replaceChildren(...parts);
}

function moveMark(threshold) {
  const x = place(threshold);
  const mark = byId("mark");
  mark.setAttribute("x1", x);
  mark.setAttribute("x2", x);
  byId("ng").setAttribute("x", x);
  byId("ng").setAttribute("width", Math.max(0, RIGHT - x));
  const told = byId("mark-told");
  told.setAttribute("x", Math.min(Math.max(x, LEFT + 90), RIGHT - 60));
  told.setAttribute("text-anchor", "middle");
  setText(told, word("scores.ng_from", { score: number(threshold, 5) }));
}

function figure(address, lines) {
  const item = document.createElement("li");
  const image = document.createElement("img");
  image.alt = lines.join(", ");
  image.addEventListener("error", () => {
    const gone = document.createElement("p");
    gone.className = "pale";
    gone.textContent = word("scores.no_picture");
    image.replaceWith(gone);
  });
  image.src = address;
  item.append(image);
  for (const line of lines) {
    const told = document.createElement("p");
    told.textContent = line;
    item.append(told);
  }
  return item;
}

function goodFigure(index) {
  const address = `/scores/picture?${new URLSearchParams({ bundle: bundle(), image: index })}`;
  return figure(address, [scores.names[index], number(scores.good[index], 5)]);
}

function showPictures(threshold) {
  const above = scores.names.map((_, index) => index).filter((index) => reaches(scores.good[index], threshold));
  const below = scores.names.map((_, index) => index).slice(above.length);
  const none = () => {
    const told = document.createElement("li");
    told.textContent = word(scores.names.length ? "scores.none" : "scores.older");
    return told;
  };
  const shown = (indices) => (indices.length ? indices.map(goodFigure) : [none()]);
  byId("above").replaceChildren(...shown(above.reverse().slice(0, SHOWN)));
  byId("below").replaceChildren(...shown(below.slice(0, SHOWN)));
  const wrong = scores.marked.filter((part) => reaches(part.score, threshold) === (part.mark === "good"));
  wrong.sort((one, other) => Math.abs(one.score - threshold) - Math.abs(other.score - threshold));
  const parts = wrong.slice(0, WRONG).map((part) => {
    const lines = [word(`scores.part_${part.mark}`, { id: part.id }), number(part.score, 5)];
    return figure(`/parts/picture?${new URLSearchParams({ id: part.id, drawn: 1 })}`, lines);
  });
  byId("wrong").replaceChildren(...(parts.length ? parts : [none()]));
}

function tryThreshold(threshold) {
  if (scores === null || !Number.isFinite(threshold)) return;
  showCounts(threshold);
  moveMark(threshold);
  clearTimeout(settled);
  settled = setTimeout(() => showPictures(threshold), SETTLED_MS);
}

function begin(threshold) {
  byId("value").value = threshold;
  byId("slider").value = threshold;
  tryThreshold(threshold);
}

async function load() {
  if (!bundle()) return;
  const answer = await ask("/scores/list", { bundle: bundle() });
  if (answer === null) return;
  scores = answer;
  range = findRange();
  const slider = byId("slider");
  slider.min = range[0];
  slider.max = range[1];
  slider.step = (range[1] - range[0]) / 1000;
  drawChart();
  const told = { good: scores.good_images, marked: scores.marked.length, drawn: scores.drawn_count };
  setText(byId("chart-told"), word("scores.chart_told", told));
  byId("area").hidden = !scores.min_area;
  setText(byId("area"), word("scores.area", { area: scores.min_area }));
  byId("outdated").hidden = !scores.outdated;
  setText(byId("outdated-told"), word("scores.outdated", { count: scores.outdated }));
  begin(scores.threshold);
}

byId("bundle").addEventListener("change", load);
byId("slider").addEventListener("input", () => {
  byId("value").value = Number(Number(byId("slider").value).toPrecision(5));
  tryThreshold(Number(byId("value").value));
});
byId("value").addEventListener("input", () => {
  byId("slider").value = byId("value").value;
  tryThreshold(byId("value").valueAsNumber);
});
byId("back").addEventListener("click", () => begin(scores.threshold));
byId("set").addEventListener("submit", async (event) => {
  event.preventDefault();
  const given = { bundle: bundle(), threshold: byId("value").valueAsNumber, reason: byId("reason").value };
  const answer = await command("/scores/set", given);
  if (answer === null) return;
  byId("reason").value = "";
  await load();
  say(word("scores.is_set", { threshold: number(answer.threshold, 5) }));
});
byId("anew").addEventListener("click", async () => {
  if ((await command("/scores/anew", { bundle: bundle() })) === null) return;
  await followJob("/scores", byId("job"));
  await load();
});

await load();
