import { ask, byId, command, fail, number, say, setText, word } from "./studio.js";
import { drawEffect } from "./effect.js";
import { followJob } from "./job.js";

let proposal = null;

async function load() {
  const answer = await ask("/teach/state");
  if (answer === null) return;
  setText(byId("marked"), word("teach.marked", answer.marked));
  proposal = answer.proposal;
  drawEffect(proposal);
  if (proposal === null) return;
  setText(byId("proposal-title"), word("teach.proposal_for", { name: proposal.name }));
  setText(byId("learnt"), word("teach.parts", { learnt: proposal.learnt, known: proposal.known }));
  setText(byId("prototypes"), number(proposal.prototypes));
  const ends = { before: number(proposal.threshold_before, 4), after: number(proposal.threshold_after, 4) };
  setText(byId("threshold"), proposal.by_hand ? word("teach.by_hand", ends) : `${ends.before} → ${ends.after}`);
  const skipped = proposal.skipped.map((reason) => {
    const item = document.createElement("li");
    item.textContent = reason;
    return item;
  });
  byId("skipped").replaceChildren(...skipped);
}

async function follow() {
  await followJob("/teach", byId("job"), (runs) => {
    byId("cancel").disabled = !runs;
  });
  await load();
}

byId("propose").addEventListener("submit", async (event) => {
  event.preventDefault();
  if ((await command("/teach/propose", { bundle: byId("bundle").value })) !== null) await follow();
});
byId("cancel").addEventListener("click", () => command("/teach/cancel"));
byId("accept").addEventListener("submit", async (event) => {
  event.preventDefault();
  const given = { number: proposal.number, typed: byId("typed").value, reason: byId("reason").value };
  if ((await command("/teach/accept", given)) === null) return;
  const job = await followJob("/teach/accepting", byId("accepting"));
  const told = job?.result?.version;
  await load();
  if (job?.state === "done") say(word("teach.in_service", { version: told ?? "–" }));
});
byId("refuse").addEventListener("click", async () => {
  const reason = byId("reason").value.trim();
  if (!reason) {
    fail(word("teach.say_why"));
    byId("reason").focus();
    return;
  }
  if ((await command("/teach/refuse", { number: proposal.number, reason })) === null) return;
  byId("reason").value = "";
  await load();
  say(word("teach.refused"));
});

await load();
await follow();
