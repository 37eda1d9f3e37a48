// Renews a page that asks for it, while nobody works in it, and selects all rows of a list.
"use strict";
(() => {
  document.documentElement.classList.add("has-script");
  let main = document.getElementById("main");
  const seconds = Number(main.dataset.live);
  const button = document.getElementById("live");
  let paused = false;
  let waiting = false;

  document.addEventListener("change", (event) => {
    if (!event.target.matches("[data-all]")) return;
    const boxes = event.target.closest("table").querySelectorAll('input[name="id"]');
    for (const box of boxes) box.checked = event.target.checked;
  });

  if (!seconds || !button) return;

  function show(text, state) {
    button.textContent = text;
    button.dataset.state = state;
  }

  // Somebody fills in a form, selects rows or text, or walks through the links with the keyboard.
  function isBusy() {
    const selection = document.getSelection();
    return (
      main.querySelector("input:checked") !== null ||
      main.contains(document.activeElement) ||
      (selection !== null && !selection.isCollapsed)
    );
  }

  async function renew() {
    if (paused || waiting || document.hidden || isBusy()) return;
    waiting = true;
    try {
      const response = await fetch(location.href, { cache: "no-store", redirect: "error" });
      if (!response.ok) throw new Error(String(response.status));
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      const renewed = page.getElementById("main");
      if (renewed !== null && !isBusy() && !paused) {
        main.replaceWith(document.adoptNode(renewed));
        main = renewed;
        document.title = page.title;
      }
      show("Live", "live");
      if (!main.dataset.live) {
        paused = true;
        button.hidden = true;
      }
    } catch {
      show("Not renewed", "failed");
    } finally {
      waiting = false;
    }
  }

  button.hidden = false;
  button.title = "Renew this page every " + seconds + " s; click to stop or to go on";
  show("Live", "live");
  button.addEventListener("click", () => {
    paused = !paused;
    show(paused ? "Stopped" : "Live", paused ? "stopped" : "live");
    button.blur();
    renew();
  });
  document.addEventListener("visibilitychange", renew);
  setInterval(renew, seconds * 1000);
})();
