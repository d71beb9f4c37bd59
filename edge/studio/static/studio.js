// What all pages share. Text from elsewhere becomes text nodes, never markup.

const PATIENCE_MS = 30_000;
const words = JSON.parse(document.getElementById("words").textContent);
const csrf = document.querySelector("meta[name=csrf]").content;

export const byId = (id) => document.getElementById(id);

export const language = document.documentElement.lang;

/** A sentence of the catalogue; `count` chooses its plural form. */
export function word(key, values = {}) {
  let text = words[key];
  if (text === undefined) return key;
  if (typeof text === "object") text = values.count === 1 ? text.one : text.other;
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

export function number(value, digits = 3) {
  return value.toLocaleString(language, { maximumFractionDigits: digits });
}

export function shownTime(text) {
  return new Date(text).toLocaleString(language, { hour12: false });
}

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Say something to everybody, also to whoever hears the page. */
export function say(text) {
  setText(byId("failed"), "");
  setText(byId("said"), text);
}

export function fail(text) {
  setText(byId("said"), "");
  setText(byId("failed"), text);
}

/** A row of a table. */
export function row(cells) {
  const made = document.createElement("tr");
  for (const cell of cells) {
    const place = document.createElement("td");
    if (cell instanceof Node) place.append(cell);
    else place.textContent = cell;
    made.append(place);
  }
  return made;
}

/** Ask for something that is JSON; null if there is no answer, which is said. */
export async function ask(path, query = {}) {
  const address = new URL(path, location.origin);
  for (const [name, value] of Object.entries(query)) address.searchParams.set(name, value);
  return answerOf(fetch(address, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) }));
}

/** Let something be done; null if it was refused, which is said. */
export async function command(path, given = {}) {
  const headers = { "Content-Type": "application/json", "X-CSRF": csrf };
  const signal = AbortSignal.timeout(PATIENCE_MS);
  return answerOf(fetch(path, { method: "POST", headers, body: JSON.stringify(given), signal }));
}

async function answerOf(fetched) {
  let response;
  try {
    response = await fetched;
  } catch {
    fail(word("studio.no_answer"));
    return null;
  }
  if (response.redirected && new URL(response.url).pathname === "/login") {
    location.assign("/login");
    return null;
  }
  let content;
  try {
    content = await response.json();
  } catch {
    content = { error: word("studio.no_answer") };
  }
  if (response.ok) return content;
  fail(content.error);
  return null;
}

export function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Resolves once the page is looked at. */
export async function visible() {
  while (document.hidden) {
    await new Promise((resolve) =>
      document.addEventListener("visibilitychange", resolve, { once: true }),
    );
  }
}

for (const button of document.querySelectorAll("button.language")) {
  button.addEventListener("click", async () => {
    const answer = await command("/language", { language: button.dataset.language });
    if (answer !== null) location.reload();
  });
}
byId("log-out")?.addEventListener("click", async () => {
  if ((await command("/logout")) !== null) location.assign("/login");
});
