import { byId, command } from "./studio.js";

byId("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const answer = await command("/login", { token: byId("token").value });
  if (answer !== null) location.assign("/");
});
