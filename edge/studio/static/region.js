// Draws in px of the frame, whatever the zoom: the canvas has the frame's size, CSS only shows it.
import { ask, byId, command, fail, number, pause, say, setText, word } from "./studio.js";
import { drawEffect } from "./effect.js";
import { followJob } from "./job.js";

const MAX_POINTS = 4000;
const FAST = 10; // px of a step with the shift key
const CAMERA_TRIES = 40;
const CAMERA_PAUSE_MS = 250;
const canvas = byId("canvas");
const context = canvas.getContext("2d");
const kept = document.createElement("canvas"); // the mask that the bundle has
const mask = document.createElement("canvas"); // and what is drawn into it
const marks = document.createElement("canvas");

let photo = null;
let roi = null; // [x, y, width, height]
let shapes = [];
let keepsMask = true;
let past = []; // for undo
let tool = "region";
let open = null; // the shape that is being drawn: points, or the region's first corner
let cursor = [0, 0];
let isCursorShown = false;
let zoom = 1;

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const bundle = () => byId("bundle").value;
const isBusy = () => photo === null || canvas.getAttribute("aria-busy") === "true";
const radius = () => clamp(Math.round(byId("radius").valueAsNumber) || 1, 1, 1000);

function remember() {
  past.push({ roi, shapes: [...shapes], keepsMask });
}

function undo() {
  if (open !== null) {
    open = null;
  } else if (past.length) {
    ({ roi, shapes, keepsMask } = past.pop());
    showRoi();
  }
  paint();
}

/** A shape as its pixels are, near enough for the eye; the studio draws the mask itself. */
function drawShape(target, shape) {
  target.globalCompositeOperation = shape.erases ? "destination-out" : "source-over";
  target.fillStyle = target.strokeStyle = "#fff";
  target.beginPath();
  shape.points.forEach(([x, y], index) => (index ? target.lineTo(x, y) : target.moveTo(x, y)));
  if (shape.kind === "polygon") {
    target.closePath();
    target.fill();
  } else {
    target.lineWidth = 2 * shape.radius;
    target.lineCap = target.lineJoin = "round";
    if (shape.points.length === 1) target.lineTo(shape.points[0][0] + 0.01, shape.points[0][1]);
    target.stroke();
  }
}

function drawMask() {
  const target = mask.getContext("2d");
  target.globalCompositeOperation = "source-over";
  target.clearRect(0, 0, mask.width, mask.height);
  if (keepsMask) target.drawImage(kept, 0, 0);
  for (const shape of shapes) drawShape(target, shape);
  if (open !== null && tool !== "region") drawShape(target, shapeOf(open));
}

/** Diagonals and a tint, so that colour alone says nothing. */
function drawMarks() {
  const target = marks.getContext("2d");
  target.globalCompositeOperation = "source-over";
  target.clearRect(0, 0, marks.width, marks.height);
  target.drawImage(mask, 0, 0);
  target.globalCompositeOperation = "source-in";
  target.fillStyle = "rgba(255, 60, 90, 0.4)";
  target.fillRect(0, 0, marks.width, marks.height);
  target.globalCompositeOperation = "source-atop";
  const step = Math.max(8, Math.round(Math.max(marks.width, marks.height) / 80));
  target.strokeStyle = "#fff";
  target.lineWidth = Math.max(1, step / 8);
  target.beginPath();
  for (let x = -marks.height; x < marks.width; x += step) {
    target.moveTo(x, marks.height);
    target.lineTo(x + marks.height, 0);
  }
  target.stroke();
}

function paint() {
  context.clearRect(0, 0, canvas.width, canvas.height);
  if (photo === null) return;
  context.drawImage(photo, 0, 0, canvas.width, canvas.height);
  drawMask();
  drawMarks();
  context.drawImage(marks, 0, 0);
  const width = Math.max(1, 2 / zoom);
  const shown = tool === "region" && open !== null ? boxOf(open[0], cursor) : roi;
  if (shown !== null) {
    const [x, y, across, down] = shown;
    context.fillStyle = "rgba(0, 0, 0, 0.55)";
    context.beginPath();
    context.rect(0, 0, canvas.width, canvas.height);
    context.rect(x, y, across, down);
    context.fill("evenodd");
    context.lineWidth = width;
    context.strokeStyle = "#fff";
    context.strokeRect(x, y, across, down);
  }
  if (open !== null && tool === "polygon") {
    context.beginPath();
    [...open, cursor].forEach(([x, y], index) => (index ? context.lineTo(x, y) : context.moveTo(x, y)));
    context.strokeStyle = "#fff";
    context.lineWidth = width;
    context.stroke();
  }
  if (isCursorShown) {
    const reach = 9 / zoom;
    context.beginPath();
    context.moveTo(cursor[0] - reach, cursor[1]);
    context.lineTo(cursor[0] + reach, cursor[1]);
    context.moveTo(cursor[0], cursor[1] - reach);
    context.lineTo(cursor[0], cursor[1] + reach);
    context.strokeStyle = "#000";
    context.lineWidth = 2 * width;
    context.stroke();
    context.strokeStyle = "#7cc4ff";
    context.lineWidth = width;
    context.stroke();
  }
}

function showShare() {
  drawMask();
  const pixels = mask.getContext("2d").getImageData(0, 0, mask.width, mask.height).data;
  let count = 0;
  for (let index = 3; index < pixels.length; index += 4) count += pixels[index] > 127;
  setText(byId("share"), `${number((100 * count) / (pixels.length / 4), 1)} %`);
}

function shapeOf(points) {
  return { kind: tool === "polygon" ? "polygon" : "brush", erases: tool === "erase", radius: radius(), points };
}

function boxOf([left, top], [right, bottom]) {
  const x = Math.min(left, right);
  const y = Math.min(top, bottom);
  return [x, y, Math.max(1, Math.abs(right - left)), Math.max(1, Math.abs(bottom - top))];
}

function showRoi() {
  ["x", "y", "width", "height"].forEach((id, index) => {
    byId(id).value = roi === null ? "" : roi[index];
  });
}

function roiFromFields() {
  const values = ["x", "y", "width", "height"].map((id) => byId(id).valueAsNumber);
  return values.every(Number.isFinite) ? values.map(Math.round) : null;
}

function finish() {
  if (open === null) return;
  remember();
  if (tool === "region") {
    const box = boxOf(open[0], cursor);
    if (box[2] > 2 && box[3] > 2) roi = box;
    showRoi();
  } else if (tool !== "polygon" || open.length > 2) {
    shapes.push(shapeOf(open));
  }
  open = null;
  paint();
  showShare();
}

function tellCursor() {
  setText(byId("place-told"), word("region.at", { x: cursor[0], y: cursor[1] }));
}

function placeOf(event) {
  const box = canvas.getBoundingClientRect();
  const x = ((event.clientX - box.left) * canvas.width) / box.width;
  const y = ((event.clientY - box.top) * canvas.height) / box.height;
  return [clamp(Math.round(x), 0, canvas.width), clamp(Math.round(y), 0, canvas.height)];
}

canvas.addEventListener("pointerdown", (event) => {
  if (isBusy() || event.button !== 0) return;
  canvas.setPointerCapture(event.pointerId);
  isCursorShown = false;
  cursor = placeOf(event);
  if (tool === "polygon") {
    const first = open?.[0];
    const isClosed = first && open.length > 2 && Math.hypot(first[0] - cursor[0], first[1] - cursor[1]) < 10 / zoom;
    if (isClosed) finish();
    else open = [...(open ?? []), cursor];
  } else {
    open = [cursor];
  }
  paint();
});
canvas.addEventListener("pointermove", (event) => {
  if (photo === null) return;
  cursor = placeOf(event);
  if (open !== null && tool !== "polygon" && tool !== "region" && open.length < MAX_POINTS) open.push(cursor);
  tellCursor();
  if (open !== null) paint();
});
canvas.addEventListener("pointerup", (event) => {
  cursor = placeOf(event);
  if (open !== null && tool !== "polygon") finish();
});
canvas.addEventListener("pointercancel", () => {
  open = null;
  paint();
});
canvas.addEventListener("dblclick", () => tool === "polygon" && finish());
canvas.addEventListener("keydown", (event) => {
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  if (isBusy()) return;
  if (event.key in moves) {
    const step = event.shiftKey ? FAST : 1;
    const [x, y] = moves[event.key];
    cursor = [clamp(cursor[0] + x * step, 0, canvas.width), clamp(cursor[1] + y * step, 0, canvas.height)];
    isCursorShown = true;
    if (open !== null && (tool === "brush" || tool === "erase")) open.push(cursor);
    tellCursor();
  } else if (event.key === " ") {
    isCursorShown = true;
    if (open === null) open = [cursor];
    else if (tool === "polygon") open.push(cursor);
    else finish();
  } else if (event.key === "Enter") {
    finish();
  } else if (event.key === "Escape") {
    open = null;
  } else if (event.key === "z" && (event.ctrlKey || event.metaKey)) {
    undo();
  } else {
    return;
  }
  event.preventDefault();
  paint();
});

for (const button of document.querySelectorAll("button.tool")) {
  button.addEventListener("click", () => {
    tool = button.dataset.tool;
    open = null;
    for (const other of document.querySelectorAll("button.tool")) {
      other.setAttribute("aria-pressed", String(other === button));
    }
    paint();
  });
}
for (const id of ["x", "y", "width", "height"]) {
  byId(id).addEventListener("change", () => {
    remember();
    roi = roiFromFields();
    paint();
  });
}
byId("undo").addEventListener("click", () => {
  undo();
  showShare();
});
byId("clear").addEventListener("click", () => {
  remember();
  [roi, shapes, keepsMask, open] = [null, [], false, null];
  showRoi();
  paint();
  showShare();
});

function setZoom(value) {
  zoom = clamp(value, 0.05, 16);
  canvas.style.width = `${canvas.width * zoom}px`;
  canvas.style.height = `${canvas.height * zoom}px`;
  paint();
}
byId("smaller").addEventListener("click", () => setZoom(zoom / 1.5));
byId("larger").addEventListener("click", () => setZoom(zoom * 1.5));

async function imageAt(address) {
  const image = new Image();
  image.src = address;
  try {
    await image.decode();
  } catch {
    return null;
  }
  return image;
}

/** The newest picture of a camera, and the size of its frames: it may be shown smaller. */
async function cameraPicture(source) {
  for (let tries = 0; tries < CAMERA_TRIES; tries += 1) {
    const state = await ask("/camera/state", { source });
    if (state === null) return null;
    const image = state.size === null ? null : await imageAt(`/camera/live.jpg?${Date.now()}`);
    if (image !== null) return { image, size: state.size };
    if (state.reason && !state.is_open) break;
    await pause(CAMERA_PAUSE_MS);
  }
  return null;
}

async function setPicture() {
  const picture = byId("picture").value;
  if (!picture) return null;
  const set = byId("place").value.slice("set:".length);
  const image = await imageAt(`/region/picture?${new URLSearchParams({ set, picture })}`);
  return image && { image, size: [image.naturalWidth, image.naturalHeight] };
}

async function loadPicture() {
  const place = byId("place").value;
  const isSet = place.startsWith("set:");
  byId("picture-choice").hidden = !isSet;
  const found = isSet ? await setPicture() : place && (await cameraPicture(place.slice("camera:".length)));
  if (!found) {
    if (place) fail(word("region.no_picture"));
    return;
  }
  photo = found.image;
  for (const one of [canvas, kept, mask, marks]) [one.width, one.height] = found.size;
  cursor = [Math.round(canvas.width / 2), Math.round(canvas.height / 2)];
  setZoom(Math.min(1, (byId("view").clientWidth - 4) / canvas.width));
  await loadSettings();
}

/** What is white in a mask becomes opaque, the rest clear. */
function drawKept(image) {
  const target = kept.getContext("2d");
  target.drawImage(image, 0, 0);
  const pixels = target.getImageData(0, 0, kept.width, kept.height);
  for (let index = 0; index < pixels.data.length; index += 4) pixels.data[index + 3] = pixels.data[index];
  target.putImageData(pixels, 0, 0);
}

/** What is drawn meanwhile would be lost: nothing can be, until the bundle's own is here. */
async function loadSettings() {
  canvas.setAttribute("aria-busy", "true");
  await takeSettings();
  canvas.setAttribute("aria-busy", "false");
}

async function takeSettings() {
  [shapes, past, open, keepsMask, roi] = [[], [], null, true, null];
  if (!bundle() || photo === null) return;
  const settings = await ask("/region/settings", { bundle: bundle() });
  if (settings === null) return;
  roi = settings.roi;
  kept.getContext("2d").clearRect(0, 0, kept.width, kept.height);
  if (settings.has_mask) {
    const query = { bundle: bundle(), width: kept.width, height: kept.height };
    const image = await imageAt(`/region/mask.png?${new URLSearchParams(query)}`);
    if (image === null) {
      keepsMask = false;
      fail(word("region.misfit"));
    } else {
      drawKept(image);
    }
  } else {
    keepsMask = false;
  }
  const fits = settings.sizes.length === 0 || settings.sizes.some(([width, height]) => width === canvas.width && height === canvas.height);
  if (!fits) fail(word("region.other_size", { width: canvas.width, height: canvas.height }));
  showRoi();
  paint();
  showShare();
}

async function loadPlace() {
  const place = byId("place").value;
  if (place.startsWith("set:")) {
    const answer = await ask("/region/pictures", { set: place.slice("set:".length) });
    const options = (answer?.pictures ?? []).map((name) => new Option(name));
    byId("picture").replaceChildren(...options);
  }
  await loadPicture();
}

byId("bundle").addEventListener("change", loadSettings);
byId("place").addEventListener("change", loadPlace);
byId("picture").addEventListener("change", loadPicture);
byId("reload").addEventListener("click", loadSettings);
function asDrawn() {
  finish();
  const given = { bundle: bundle(), width: canvas.width, height: canvas.height };
  return { ...given, roi, keeps_mask: keepsMask, shapes, reason: byId("reason").value };
}

byId("compare").addEventListener("click", async () => {
  if (photo === null || (await command("/region/compare", asDrawn())) === null) return;
  const job = await followJob("/region", byId("job"));
  drawEffect(job?.result ?? null);
});
byId("set").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (photo === null) return;
  const answer = await command("/region/set", asDrawn());
  if (answer === null) return;
  byId("reason").value = "";
  await loadSettings();
  say(word(answer.changed.length ? "region.is_set" : "region.was_so"));
});

await loadPlace();
