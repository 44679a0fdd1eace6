// Puts each part of the page that has changed in the place of the old one, as the watch sends it.
"use strict";
const live = document.getElementById("live");
const connection = document.getElementById("connection");

// Puts `part` in the place of `old`, with what somebody scrolls, and has the focus on, as it was.
function replace(old, part) {
  const was = new Map();
  for (const one of old.querySelectorAll("[tabindex]")) {
    was.set(one.getAttribute("aria-label"), { left: one.scrollLeft, focused: one === document.activeElement });
  }
  old.replaceWith(part);
  for (const one of part.querySelectorAll("[tabindex]")) {
    const before = was.get(one.getAttribute("aria-label"));
    if (before === undefined) continue;
    one.scrollLeft = before.left;
    if (before.focused) one.focus({ preventScroll: true });
  }
}

function connect() {
  const events = new EventSource("events");
  events.addEventListener("open", () => { connection.hidden = true; });
  events.addEventListener("error", () => {
    connection.hidden = false;
    // A browser connects again by itself, but not after an answer that is no stream, as of a proxy without its watch.
    if (events.readyState === EventSource.CLOSED) setTimeout(connect, 2000);
  });
  events.addEventListener("message", (event) => {
    const next = new DOMParser().parseFromString(JSON.parse(event.data).html, "text/html");
    for (const part of [...next.body.children]) {
      const old = document.getElementById(part.id);
      if (old === null) live.append(part);
      else if (old.outerHTML !== part.outerHTML) replace(old, part);
    }
    live.dataset.updates = String(Number(live.dataset.updates || 0) + 1);
  });
}

connect();
