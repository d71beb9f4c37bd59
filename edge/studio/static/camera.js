import { ask, byId, command, fail, number, pause, say, setText, visible, word } from "./studio.js";

const STATE_MS = 400;
const PICTURE_MS = 125; // between two pictures
const OLD_S = 3; // an older picture is not shown as if it were now

let capturing = null;
let told = "";

function showMeasured(state) {
  const measured = state.measured;
  if (measured === null) {
    for (const id of ["sharpness", "grey", "white"]) setText(byId(id), "–");
    byId("hints").replaceChildren();
  } else {
    byId("focus").value = measured.best > 0 ? measured.sharpness / measured.best : 0;
    setText(byId("sharpness"), number(measured.sharpness, 2));
    byId("light").value = measured.light;
    setText(byId("grey"), number(measured.light, 0));
    setText(byId("white"), `${number(100 * measured.white, 1)} %`);
    const lines = measured.hints.map((kind) => word(`camera.hint_${kind}`));
    if (lines.join() !== byId("hints").dataset.lines) {
      byId("hints").dataset.lines = lines.join();
      byId("hints").replaceChildren(
        ...lines.map((line) => Object.assign(document.createElement("li"), { textContent: line })),
      );
    }
  }
  setText(byId("size"), state.size === null ? "–" : state.size.join(" × "));
}

function showView(state) {
  const is_old = state.age_s === null || state.age_s > OLD_S;
  byId("view").dataset.state = state.size === null || is_old ? "none" : "live";
  const why = state.reason || word(state.is_open ? "camera.opening" : "camera.closed");
  setText(byId("why"), why);
}

function showCapturing(state) {
  const before = capturing;
  capturing = state.capturing;
  const active = capturing !== null && capturing.is_active;
  byId("begin").disabled = active || !state.is_open;
  byId("shoot").disabled = byId("end").disabled = !active;
  byId("source").disabled = active;
  if (capturing === null) return;
  const values = { count: capturing.saved, of: capturing.count, set: capturing.name };
  setText(byId("counted"), word("camera.saved", values));
  setText(byId("alike"), capturing.alike > 0 ? word("camera.alike", { count: capturing.alike }) : "");
  if (before?.is_active && !active) {
    if (capturing.error) fail(word("camera.ended", { reason: capturing.error }));
    else say(word("camera.done", values));
  }
}

function showSets(sets) {
  const names = Object.entries(sets);
  if (JSON.stringify(names) === told) return;
  told = JSON.stringify(names);
  byId("sets").replaceChildren(
    ...names.map(([name, count]) => {
      const one = document.createElement("option");
      one.value = name;
      one.label = word("camera.pictures", { count });
      return one;
    }),
  );
}

async function followState() {
  for (;;) {
    await visible();
    const source = byId("source").value;
    const state = source ? await ask("/camera/state", { source }) : null;
    if (state !== null) {
      showMeasured(state);
      showView(state);
      showCapturing(state);
      showSets(state.sets);
    } else if (source) {
      byId("view").dataset.state = "none"; // an old picture is not one of now
      setText(byId("why"), byId("failed").textContent);
    }
    await pause(STATE_MS);
  }
}

async function showPicture() {
  const answer = await fetch("/camera/live.jpg", { cache: "no-store" });
  if (!answer.ok) return;
  const before = byId("live").src;
  byId("live").src = URL.createObjectURL(await answer.blob());
  if (before) URL.revokeObjectURL(before);
}

async function followPictures() {
  for (;;) {
    await visible();
    try {
      if (byId("view").dataset.state === "live") await showPicture();
    } catch {
      // The state says why there is none.
    }
    await pause(PICTURE_MS);
  }
}

byId("how").addEventListener("change", () => {
  byId("seconds-field").hidden = byId("how").value !== "seconds";
});

byId("capture").addEventListener("submit", async (event) => {
  event.preventDefault();
  const state = await command("/camera/capture", {
    set: byId("set").value,
    how: byId("how").value,
    seconds: Number(byId("seconds").value),
    count: Number(byId("count").value),
  });
  if (state === null) return;
  say(word("camera.begun", { set: byId("set").value }));
  showCapturing(state);
  byId("shoot").focus();
});
byId("end").addEventListener("click", () => command("/camera/end"));
byId("shoot").addEventListener("click", () => command("/camera/shoot"));
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, select, button, a, textarea");
  if (event.key !== " " || event.repeat || typing || !capturing?.is_active) return;
  event.preventDefault();
  command("/camera/shoot");
});

followState();
followPictures();
