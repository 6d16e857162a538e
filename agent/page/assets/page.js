// Puts in place what changed. The server renders; this only swaps the parts that it sends, by their ids.
"use strict";
(() => {
  const body = document.body;
  const waits = document.getElementById("waits");
  const said = document.getElementById("said");
  const SILENT_MS = 12000; // the server speaks every five seconds at least

  // Old figures must not look fresh: without news for a while the page says so, loudly.
  let timer;
  const heard = () => {
    clearTimeout(timer);
    timer = setTimeout(lost, SILENT_MS);
    if (!waits.hidden) {
      waits.hidden = true;
      waits.textContent = "";
      body.classList.remove("old");
    }
  };
  const lost = () => {
    waits.textContent = waits.dataset.text;
    waits.hidden = false;
    body.classList.add("old");
  };

  const state = (place) => place.querySelector("[data-state]")?.dataset.state;

  const put = (id, html) => {
    const place = document.getElementById(id);
    if (!place) {
      location.reload(); // another page than this one: the configuration has changed
      return;
    }
    const before = state(place);
    place.replaceChildren(...new DOMParser().parseFromString(html, "text/html").body.childNodes);
    // A screen reader hears that a tenant goes over its capacity or comes back, not every call.
    if (before !== undefined && state(place) !== before) {
      said.textContent = place.querySelector("[data-said]").dataset.said;
    }
  };

  const source = new EventSource(body.dataset.events);
  source.onmessage = (message) => {
    const { run, pieces } = JSON.parse(message.data);
    if (run !== body.dataset.run) {
      location.reload();
      return;
    }
    heard();
    for (const [id, html] of Object.entries(pieces)) put(id, html);
  };
  source.onerror = lost;
  heard();
})();
