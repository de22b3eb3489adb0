// On every page: light or dark, copying, and printing what is folded.
"use strict";
(() => {
  const page = document.documentElement;
  const modes = { "": "light dark", light: "light", dark: "dark" };
  const stored = () => { try { return localStorage.getItem("svmconf-colours") ?? ""; } catch { return ""; } };
  const show = (mode) => { page.style.colorScheme = modes[mode] ?? modes[""]; };
  show(stored());

  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("colours");
    const name = (mode) => {
      const [sign, words] = { light: ["☀", "light"], dark: ["☾", "dark"] }[mode] ?? ["◐", "as the system has them"];
      button.textContent = sign;
      button.title = "Colours: " + words;
      button.setAttribute("aria-label", button.title);
    };
    button.hidden = false;
    name(stored());
    button.addEventListener("click", () => {
      const next = { "": "light", light: "dark", dark: "" }[stored()] ?? "";
      try { localStorage.setItem("svmconf-colours", next); } catch { /* it lasts as long as the page, then */ }
      show(next);
      name(next);
    });
    for (const one of document.querySelectorAll("button[data-copy]")) one.hidden = false;
  });

  // A button copies the text of the element that it names.
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-copy]");
    if (!button) return;
    const text = document.getElementById(button.dataset.copy).textContent;
    let done = false;
    try {
      await navigator.clipboard.writeText(text);
      done = true;
    } catch {
      const area = Object.assign(document.createElement("textarea"), { value: text });
      document.body.append(area);
      area.select();
      done = document.execCommand("copy");
      area.remove();
    }
    const before = button.dataset.label ??= button.textContent;
    button.textContent = done ? "Copied" : "Select it by hand";
    setTimeout(() => { button.textContent = before; }, 2000);
  });

  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("main details:not([open])")];
    for (const one of opened) one.open = true;
  });
  addEventListener("afterprint", () => { for (const one of opened) one.open = false; });

  // What a link leads to is not to stay folded.
  const unfold = () => {
    let one = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (; one; one = one.parentElement) if (one.tagName === "DETAILS") one.open = true;
  };
  addEventListener("hashchange", unfold);
  addEventListener("DOMContentLoaded", unfold);
})();
