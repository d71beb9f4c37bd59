// Follows a job of the studio and draws how far it is.
import { ask, fail, number, pause, say, setText, visible, word } from "./studio.js";

const ASK_MS = 500;

function stageName(name) {
  const key = `studio.stage_${name.replaceAll(/[^a-z]+/g, "_")}`;
  const text = word(key);
  return text === key ? name : text;
}

function makeStage(name) {
  const made = document.createElement("div");
  made.className = "stage";
  const label = document.createElement("span");
  label.textContent = stageName(name);
  const bar = document.createElement("progress");
  bar.max = 1;
  bar.setAttribute("aria-label", stageName(name));
  const time = document.createElement("span");
  time.className = "pale time";
  const line = document.createElement("p");
  line.className = "pale";
  made.append(label, bar, time, line);
  return made;
}

function draw(job, place) {
  if (place.dataset.number !== String(job.number)) {
    place.dataset.number = job.number;
    const stages = document.createElement("div");
    const lines = document.createElement("ul");
    lines.className = "lines";
    place.replaceChildren(stages, lines);
  }
  const [stages, lines] = place.children;
  job.stages.forEach((stage, index) => {
    if (stages.children.length <= index) stages.append(makeStage(stage.name));
    const [, bar, time, line] = stages.children[index].children;
    bar.value = stage.share;
    setText(time, `${number(stage.seconds, 1)} s`);
    setText(line, stage.share < 1 ? stage.line : "");
  });
  while (lines.children.length > job.lines.length) lines.lastChild.remove();
  job.lines.forEach((text, index) => {
    if (lines.children.length <= index) lines.append(document.createElement("li"));
    setText(lines.children[index], text);
  });
}

function tellEnd(job) {
  const seconds = number(job.seconds, 1);
  if (job.state === "done") say(word("studio.job_done", { seconds }));
  else if (job.state === "cancelled") say(word("studio.job_cancelled"));
  else if (job.state === "killed") fail(word("studio.job_killed", { reason: job.error }));
  else fail(job.error);
}

/**
 * Draw the latest job at a path until it has ended; resolves with it, or null if there was none.
 * `onState` is told whether it runs. What ended before is drawn and not told again.
 */
export async function followJob(path, place, onState = () => {}) {
  let wasRunning = false;
  for (;;) {
    await visible();
    const answer = await ask(`${path}/job`);
    const job = answer?.job ?? null;
    if (answer !== null) {
      if (job === null) {
        onState(false);
        return null;
      }
      draw(job, place);
      const runs = job.state === "running";
      onState(runs);
      if (runs && !wasRunning) say(word("studio.job_begun"));
      wasRunning ||= runs;
      if (!runs) {
        if (wasRunning) tellEnd(job);
        return job;
      }
    }
    await pause(ASK_MS);
  }
}
