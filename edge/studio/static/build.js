import { followJob } from "./job.js";
import { ask, byId, command, number, word } from "./studio.js";

let bundles = [];
let named = false; // by hand

function showBundleHelp() {
  const is_there = bundles.includes(byId("bundle").value);
  byId("bundle-help").textContent = word(is_there ? "build.replaces" : "build.new");
}

function proposeName() {
  if (!named) byId("bundle").value = byId("set").value;
  showBundleHelp();
}

async function loadPlaces() {
  const places = await ask("/build/places");
  if (places === null) return;
  bundles = places.bundles;
  const before = byId("set").value;
  byId("set").replaceChildren(
    ...Object.entries(places.sets).map(([name, count]) => {
      const words = `${name} (${word("build.pictures", { count })})`;
      return new Option(words, name, false, name === before);
    }),
  );
  byId("no-set").hidden = Object.keys(places.sets).length > 0;
  proposeName();
}

function figure(name, value) {
  const made = document.createElement("div");
  const dt = document.createElement("dt");
  const dd = document.createElement("dd");
  dt.textContent = name;
  dd.textContent = value;
  made.append(dt, dd);
  return made;
}

function percent(share) {
  return `${number(100 * share, 2)} %`;
}

function showResult(job) {
  const result = job.result;
  byId("result").hidden = result === null;
  if (result === null) return;
  const drawn = result.drawn_defects;
  const rows = [
    figure(word("build.threshold"), number(result.threshold, 4)),
    figure(word("build.bound"), percent(result.false_reject_bound)),
    figure(word("build.images"), `${result.images} / ${result.different_images}`),
    figure(word("build.seconds"), `${number(result.seconds, 1)} s`),
  ];
  if (drawn !== null) rows.push(figure(word("build.drawn"), `${drawn.found} / ${drawn.drawn}`));
  byId("figures").replaceChildren(...rows);
  const lines = [result.warning, drawn?.warning, result.alarm].filter(Boolean);
  byId("warnings").replaceChildren(
    ...lines.map((line) => Object.assign(document.createElement("li"), { textContent: line })),
  );
  showOdd(Object.entries(result.odd_images));
  const bundle = job.given.output.split("/").at(-1).replace(/\.edge$/, "");
  byId("report").href = `/build/report?bundle=${encodeURIComponent(bundle)}`;
}

function showOdd(odd) {
  byId("odd").replaceChildren();
  if (odd.length === 0) return;
  const title = document.createElement("p");
  title.textContent = word("build.odd", { count: odd.length });
  const list = document.createElement("ul");
  for (const [path, score] of odd) {
    const one = document.createElement("li");
    one.textContent = `${path.split("/").at(-1)}: ${number(score, 4)}`;
    list.append(one);
  }
  byId("odd").append(title, list);
}

async function follow() {
  const job = await followJob("/build", byId("job"), (runs) => {
    byId("begin").disabled = runs;
    byId("cancel").disabled = !runs;
    if (runs) byId("result").hidden = true;
  });
  if (job !== null) {
    showResult(job);
    await loadPlaces();
  }
}

byId("set").addEventListener("change", proposeName);
byId("bundle").addEventListener("input", () => {
  named = true;
  showBundleHelp();
});
byId("start").addEventListener("submit", async (event) => {
  event.preventDefault();
  const answer = await command("/build/start", {
    set: byId("set").value,
    bundle: byId("bundle").value,
    precision: byId("precision").value,
    model: byId("model").value,
    false_rejects: Number(byId("rate").value) / 100,
  });
  if (answer !== null) follow();
});
byId("cancel").addEventListener("click", () => command("/build/cancel"));

await loadPlaces();
follow();
