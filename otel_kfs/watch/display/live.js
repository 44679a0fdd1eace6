// Puts each part of the page that has changed in the place of the old one, as the watch sends it.
"use strict";
const live = document.getElementById("live");
const connection = document.getElementById("connection");
const events = new EventSource("events");

events.addEventListener("open", () => { connection.hidden = true; });
events.addEventListener("error", () => { connection.hidden = false; });
events.addEventListener("message", (event) => {
  const next = new DOMParser().parseFromString(JSON.parse(event.data).html, "text/html");
  for (const part of [...next.body.children]) {
    const old = document.getElementById(part.id);
    if (old === null) live.append(part);
    else if (old.outerHTML !== part.outerHTML) old.replaceWith(part);
  }
  live.dataset.updates = String(Number(live.dataset.updates || 0) + 1);
});
