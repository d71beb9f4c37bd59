import { ask, byId, command, number, row, say, setText, shownTime, word } from "./studio.js";
import { drawEffect } from "./effect.js";
import { followJob } from "./job.js";

let proposal = null;
const bundle = () => byId("bundle").value;

function cellsOf(facts) {
  if (facts.is_damaged) return [word("versions.damaged"), "–", "–", "–"];
  return [shownTime(facts.made), number(facts.images), number(facts.threshold, 4), facts.precision];
}

function backButton(version) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = word("versions.compare", { version: version.number });
  button.disabled = version.is_damaged;
  button.addEventListener("click", () => compare({ version: version.number }));
  return button;
}

async function compare(given) {
  if ((await command("/versions/compare", { bundle: bundle(), ...given })) === null) return;
  await followJob("/versions", byId("job"));
  await load();
  byId("proposal").scrollIntoView();
}

async function load() {
  if (!bundle()) return;
  const answer = await ask("/versions/list", { bundle: bundle() });
  if (answer === null) return;
  setText(byId("now"), word("versions.now", { what: cellsOf(answer.now).join(", ") }));
  byId("versions").replaceChildren(...answer.versions.map((one) => row([one.number, ...cellsOf(one), backButton(one)])));
  const lines = answer.history.map((one) => row([shownTime(one.when), one.by, word(`versions.what_${one.what.replaceAll(" ", "_")}`), one.detail, one.version ?? ""]));
  byId("history").replaceChildren(...lines);
  proposal = answer.proposal;
  drawEffect(proposal);
  if (proposal === null) return;
  const isVersion = proposal.version !== null;
  const title = isVersion
    ? word("versions.would_roll_back", { name: proposal.name, version: proposal.version })
    : word("versions.would_promote", { name: proposal.name, candidate: proposal.candidate_name });
  setText(byId("proposal-title"), title);
}

byId("bundle").addEventListener("change", load);
byId("promote").addEventListener("submit", (event) => {
  event.preventDefault();
  compare({ candidate: byId("candidate").value });
});
byId("replace").addEventListener("submit", async (event) => {
  event.preventDefault();
  const given = { number: proposal.number, typed: byId("typed").value, reason: byId("reason").value };
  if ((await command("/versions/replace", given)) === null) return;
  byId("reason").value = "";
  await load();
  say(word("versions.in_service"));
});

await load();
