import { ask, byId, command, fail, number, pause, row, setText, visible, word } from "./studio.js";

const STATE_MS = 1000;
let wasRunning = false;
let shownRejects = "";

function addressOf(query) {
  const address = new URL("/line/picture", location.origin);
  for (const [name, value] of Object.entries(query)) address.searchParams.set(name, value);
  return address.href;
}

function showState(state) {
  const runs = state.job?.state === "running";
  const elsewhere = !runs && state.report !== null;
  byId("begin").disabled = runs || elsewhere || byId("command").value === "";
  byId("stop").disabled = !runs;
  let text = word("line.stopped");
  if (elsewhere) text = word("line.elsewhere");
  else if (runs && state.report === null) text = word("line.starting");
  else if (runs) {
    const reasons = Object.values(state.report.reasons ?? {});
    const words = word(state.report.ready ? "line.ready" : "line.not_ready");
    text = [words, ...reasons].join(": ");
  }
  setText(byId("state"), text);
  if (wasRunning && !runs && state.job.error) fail(state.job.error);
  wasRunning = runs;
}

function showCameras(cameras) {
  byId("cameras").replaceChildren(
    ...Object.entries(cameras).map(([name, one]) => {
      const words = word(one.ready ? "line.ready" : "line.not_ready");
      return row([name || "–", words, number(one.ok), number(one.ng), number(one.error), one.reason]);
    }),
  );
  const names = Object.keys(cameras);
  const place = byId("live");
  if (place.dataset.names !== JSON.stringify(names)) {
    place.dataset.names = JSON.stringify(names);
    place.replaceChildren(
      ...names.map((name) => Object.assign(document.createElement("img"), { alt: `${word("line.live")} ${name}` })),
    );
  }
  names.forEach((camera, index) => showLive(place.children[index], camera));
}

async function showLive(picture, camera) {
  try {
    const answer = await fetch(addressOf({ camera }), { cache: "no-store" });
    if (!answer.ok) return;
    const before = picture.src;
    picture.src = URL.createObjectURL(await answer.blob());
    if (before) URL.revokeObjectURL(before);
  } catch {
    // The state says that nobody answers.
  }
}

function rejectOf(camera, one) {
  const made = document.createElement("figure");
  const picture = document.createElement("img");
  const caption = document.createElement("figcaption");
  picture.src = addressOf({ camera, reject: one.id });
  picture.alt = one.verdict;
  const score = one.score === null ? one.reason : number(one.score);
  const when = new Date(one.captured_at_ns / 1e6).toLocaleTimeString(document.documentElement.lang);
  caption.textContent = `${when} ${word("line.reject", { verdict: one.verdict, score })}`;
  made.append(picture, caption);
  return made;
}

function showRejects(rejects) {
  const all = Object.entries(rejects).flatMap(([camera, rows]) => rows.map((one) => [camera, one]));
  const told = JSON.stringify(all.map(([camera, one]) => [camera, one.id]));
  if (told === shownRejects) return;
  shownRejects = told;
  byId("no-rejects").hidden = all.length > 0;
  byId("rejects").replaceChildren(...all.map(([camera, one]) => rejectOf(camera, one)));
}

function showLog(lines) {
  const place = byId("log");
  if (place.dataset.told === JSON.stringify(lines)) return;
  place.dataset.told = JSON.stringify(lines);
  place.replaceChildren(
    ...lines.slice(-30).map((text) => Object.assign(document.createElement("li"), { textContent: text })),
  );
}

function showBundles(choice, names) {
  if (choice.dataset.names === names.join("\n")) return;
  choice.dataset.names = names.join("\n");
  const before = choice.value;
  choice.replaceChildren(choice.options[0], ...names.map((name) => new Option(name, name)));
  choice.value = names.includes(before) ? before : "";
}

async function followState() {
  for (;;) {
    await visible();
    const state = await ask("/line/state");
    if (state !== null) {
      showState(state);
      showCameras(state.report?.cameras ?? {});
      showRejects(state.rejects);
      showLog(state.job?.lines ?? []);
      for (const id of ["bundle", "shadow"]) showBundles(byId(id), state.bundles);
    }
    await pause(STATE_MS);
  }
}

byId("command").addEventListener("change", () => {
  for (const field of document.querySelectorAll(".of-stream")) {
    field.hidden = byId("command").value !== "stream";
  }
});
byId("start").addEventListener("submit", async (event) => {
  event.preventDefault();
  const given = { command: byId("command").value };
  if (given.command === "stream") {
    given.bundle = byId("bundle").value;
    given.shadow = byId("shadow").value;
  }
  await command("/line/start", given);
});
byId("stop").addEventListener("click", () => command("/line/cancel"));

followState();
