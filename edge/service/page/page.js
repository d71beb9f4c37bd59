// Shows what the monitor answers. Text from elsewhere becomes text nodes, never markup.
"use strict";

const REPORT_MS = 1000;
const PATIENCE_MS = 4000; // for one answer
const OLD_MS = 3000; // an older picture is not shown as if it were now
const PICTURE_MS = 125; // between two pictures of a camera, when there are one or two
const RATE_OVER = 6; // reports over which rates are taken
const AGAIN_MS = 5000; // rejects are asked for again, also when nothing was counted

const byId = (id) => document.getElementById(id);
const cards = new Map(); // by the camera's name
let heard = null; // performance.now() of the last report

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function visible() {
  while (document.hidden) {
    await new Promise((resolve) =>
      document.addEventListener("visibilitychange", resolve, { once: true }),
    );
  }
}

// Without what the address may carry before the host: a browser asks for nothing at such a one.
const home = location.origin + location.pathname;

function ask(path, headers = {}) {
  return fetch(new URL(path, home), { headers, cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function shownNumber(value) {
  return value.toLocaleString("en-US");
}

function shownTime(ns) {
  return new Date(ns / 1e6).toLocaleTimeString([], { hour12: false });
}

// ---- the report

async function followReport() {
  for (;;) {
    await visible();
    const began = performance.now();
    try {
      const answer = await ask("healthz");
      if (answer.status !== 200 && answer.status !== 503) throw new Error(refusal(answer.status));
      showReport(await answer.json());
    } catch (error) {
      showLost(error);
    }
    await pause(Math.max(100, REPORT_MS - (performance.now() - began)));
  }
}

function refusal(status) {
  return status === 401 ? "the token is asked for: load the page again" : `answer ${status}`;
}

function showReport(report) {
  heard = performance.now();
  // Which cameras, since why is in the picture of each; of anything else, why.
  const isCamera = (name) => name && name in report.cameras;
  const names = Object.entries(report.reasons).map(([name, why]) => (isCamera(name) ? name : why));
  const words = report.ready ? "ready" : "not ready";
  showTop(report.ready ? "ready" : "not-ready", words, [names.join(", "), ...report.troubles]);
  setText(byId("clock"), new Date().toLocaleTimeString([], { hour12: false }));
  for (const [name, one] of Object.entries(report.cameras)) {
    if (!cards.has(name)) cards.set(name, new Card(name));
    cards.get(name).report(one);
  }
  const count = cards.size;
  byId("cameras").dataset.count = count > 2 ? "many" : String(count);
}

function showLost(error) {
  const since = heard === null ? "" : ` for ${Math.round((performance.now() - heard) / 1000)} s`;
  const why = error.name === "TimeoutError" || error instanceof TypeError ? "" : error.message;
  showTop("lost", `no answer${since}`, [why || "is edge running, and the network there?"]);
}

function showTop(state, words, lines) {
  byId("top").dataset.state = state;
  setText(byId("state"), words);
  setText(byId("why"), lines.filter(Boolean).join("; "));
  document.title = `${words} · edge`;
}

// ---- one camera

class Card {
  constructor(name) {
    this.name = name;
    this.path = `cameras/${encodeURIComponent(name)}`;
    this.root = byId("camera").content.firstElementChild.cloneNode(true);
    this.live = this.root.querySelector(".live");
    this.picture = this.live.querySelector("img");
    this.reports = [];
    this.now = null;
    this.seen = null; // performance.now() of what the picture shows
    this.known = "";
    this.rejected = -1;
    this.rejects = new Map();
    setText(this.root.querySelector(".name"), name);
    byId("cameras").append(this.root);
    this.followPicture();
    this.followRejects();
    setInterval(() => this.judgeAge(), 250);
  }

  report(one) {
    this.now = one;
    this.root.dataset.state = one.ready ? "ready" : "not-ready";
    setText(this.root.querySelector(".state"), one.ready ? "ready" : "not ready");
    for (const verdict of ["ok", "ng", "error"]) {
      const place = this.root.querySelector(`.counts .${verdict}`);
      place.classList.toggle("none", one[verdict] === 0);
      setText(place.querySelector("dd"), shownNumber(one[verdict]));
    }
    setText(this.root.querySelector(".dropped dd"), shownNumber(one.dropped));
    const { ok, ng, error } = one.today;
    setText(this.root.querySelector(".today dd"), shownNumber(ok + ng + error));
    setText(this.root.querySelector(".today-ng dd"), shownNumber(ng));
    setText(this.root.querySelector(".drift dd"), one.drift ? one.drift.state : "–");
    setText(this.root.querySelector(".troubles"), one.troubles.join("\n"));
    this.showRates(one);
    this.judgeAge();
  }

  showRates(one) {
    const timed = Object.values(one.latency_ms.buckets).reduce((sum, count) => sum + count, 0);
    this.reports.push({ at: performance.now(), frames: one.frames, timed, ms: one.latency_ms.sum });
    if (this.reports.length > RATE_OVER) this.reports.shift();
    const first = this.reports[0];
    const last = this.reports[this.reports.length - 1];
    const seconds = (last.at - first.at) / 1000;
    const rate = seconds > 0 ? (last.frames - first.frames) / seconds : null;
    const each = last.timed > first.timed ? (last.ms - first.ms) / (last.timed - first.timed) : null;
    const show = (place, value) =>
      setText(this.root.querySelector(place), value === null || value < 0 ? "–" : value.toFixed(1));
    show(".rate dd", rate);
    show(".latency dd", each);
  }

  // Whether what is shown is what is there now, and if not, why.
  judgeAge() {
    const lost = heard === null || performance.now() - heard > 2 * PATIENCE_MS;
    const age = this.seen === null ? null : performance.now() - this.seen;
    const fresh = age !== null && age < OLD_MS && this.picture.hasAttribute("src");
    const ready = this.now !== null && this.now.ready;
    this.live.classList.toggle("old", lost || !fresh || !ready);
    let words = "";
    if (lost) words = "no answer";
    else if (!ready) words = this.now.reason;
    else if (!fresh && !this.now.live) {
      words = age === null ? "waiting for a part" : `last part ${Math.round(age / 1000)} s ago`;
    } else if (!fresh) {
      words = age === null ? "no picture yet" : `no picture for ${Math.round(age / 1000)} s`;
    }
    setText(this.live.querySelector("figcaption"), words);
  }

  async followPicture() {
    for (;;) {
      await visible();
      const began = performance.now();
      try {
        await this.takePicture();
      } catch (error) {
        if (error.name !== "TimeoutError" && !(error instanceof TypeError)) throw error;
        await pause(REPORT_MS); // the report tells that nothing is heard
      }
      const every = PICTURE_MS * Math.max(1, cards.size / 2);
      await pause(Math.max(25, every - (performance.now() - began)));
    }
  }

  async takePicture() {
    const headers = this.known ? { "If-None-Match": `"${this.known}"` } : {};
    const answer = await ask(`${this.path}/live.jpg`, headers);
    if (answer.status === 503) {
      await pause(250);
      return;
    }
    if (answer.status !== 200 && answer.status !== 304) {
      await pause(REPORT_MS);
      return;
    }
    const seen = performance.now() - Number(answer.headers.get("Edge-Age-Ms"));
    if (answer.status === 200) {
      if (!(await this.show(await answer.blob()))) return;
      this.known = answer.headers.get("ETag").replaceAll('"', "");
      this.live.dataset.verdict = answer.headers.get("Edge-Verdict");
    }
    this.seen = seen;
    this.judgeAge();
  }

  // Decoded before it takes the place of the one before, so that nothing flickers.
  async show(blob) {
    const next = new Image();
    next.alt = "";
    next.src = URL.createObjectURL(blob);
    try {
      await next.decode();
    } catch {
      URL.revokeObjectURL(next.src);
      return false;
    }
    if (this.picture.src) URL.revokeObjectURL(this.picture.src);
    this.picture.replaceWith(next);
    this.picture = next;
    return true;
  }

  async followRejects() {
    let asked = -Infinity;
    for (;;) {
      await visible();
      await pause(REPORT_MS);
      if (this.now === null) continue;
      const rejected = this.now.ng + this.now.error;
      if (rejected === this.rejected && performance.now() - asked < AGAIN_MS) continue;
      asked = performance.now();
      try {
        const answer = await ask(`${this.path}/rejects.json`);
        if (answer.status !== 200) continue;
        this.showRejects((await answer.json()).rejects);
        this.rejected = rejected;
      } catch (error) {
        if (error.name !== "TimeoutError" && !(error instanceof TypeError)) throw error;
      }
    }
  }

  showRejects(rows) {
    const place = this.root.querySelector(".rejects");
    const kept = new Set(rows.map((row) => row.id));
    for (const [id, element] of this.rejects) {
      if (kept.has(id)) continue;
      element.remove();
      this.rejects.delete(id);
    }
    // The oldest first, each before all others: the newest ends up leftmost.
    for (const row of [...rows].reverse()) {
      if (this.rejects.has(row.id)) continue;
      const element = this.rejectOf(row);
      this.rejects.set(row.id, element);
      place.prepend(element);
    }
  }

  rejectOf(row) {
    const element = byId("reject").content.firstElementChild.cloneNode(true);
    const picture = element.querySelector("img");
    const said = row.score === null ? row.reason : `${row.score.toFixed(3)} / ${row.threshold.toFixed(3)}`;
    element.dataset.verdict = row.verdict;
    picture.src = new URL(`${this.path}/rejects/${encodeURIComponent(row.id)}.jpg`, home);
    picture.alt = row.verdict;
    element.title = row.reason || said;
    setText(element.querySelector(".what"), row.score === null ? row.verdict : row.score.toFixed(3));
    setText(element.querySelector("time"), shownTime(row.captured_at_ns));
    const part = row.part === null ? `frame ${row.frame}` : `part ${row.part}`;
    const words = [this.name, shownTime(row.captured_at_ns), part, row.verdict, said];
    element.addEventListener("click", () => enlarge(picture.src, words.filter(Boolean).join("  ·  ")));
    return element;
  }
}

function enlarge(source, words) {
  const dialog = byId("large");
  dialog.querySelector("img").src = source;
  setText(dialog.querySelector("p"), words);
  dialog.showModal();
}

followReport();
