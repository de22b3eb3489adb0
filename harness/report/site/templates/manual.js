// Filters the tree; without it the tree unfolds all the same. What is chosen stands in the address.
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const items = [...document.querySelectorAll(".requirements li")];
  const nodes = [...document.querySelectorAll("details.node")];
  const words = items.map((item) => item.textContent.toLowerCase());
  const first = new Set(nodes.filter((node) => node.open));
  const FIELDS = ["find", "status", "kind", "priority"];

  function filter() {
    const wanted = $("find").value.toLowerCase().split(/\s+/).filter(Boolean);
    const chosen = FIELDS.slice(1).filter((name) => $(name).value);
    const narrow = wanted.length || chosen.length || $("deviates").checked;
    let shown = 0;
    items.forEach((item, n) => {
      const fits = chosen.every((name) => item.dataset[name] === $(name).value)
        && (!$("deviates").checked || "deviates" in item.dataset)
        && wanted.every((word) => words[n].includes(word));
      item.hidden = !fits;
      shown += fits;
    });
    for (const node of nodes) {
      const some = node.querySelector(".requirements li:not([hidden])") !== null;
      node.hidden = !some;
      node.open = narrow ? some : first.has(node);
    }
    name();
    $("shown").textContent = narrow ? `${shown} of ${items.length}` : `${items.length} requirements`;
    $("none").hidden = shown > 0;
  }

  function remember() {
    const state = new URLSearchParams();
    for (const field of FIELDS) if ($(field).value) state.set(field, $(field).value);
    if ($("deviates").checked) state.set("deviates", "1");
    history.replaceState(null, "", "#" + state);
    filter();
  }
  function recall() {
    if (location.hash.includes("=")) {
      const state = new URLSearchParams(location.hash.slice(1));
      for (const field of FIELDS) $(field).value = state.get(field) ?? "";
      $("deviates").checked = state.has("deviates");
    }
    filter();
  }

  const folded = () => nodes.some((node) => !node.open && !node.hidden);
  const name = () => { $("fold").textContent = folded() ? "Unfold all" : "Fold all"; };
  $("fold").addEventListener("click", () => {
    const open = folded();
    for (const node of nodes) node.open = open || first.has(node);
    name();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.target.closest("input, select")) { event.preventDefault(); $("find").focus(); }
    if (event.key === "Escape" && event.target === $("find")) { $("find").value = ""; remember(); }
  });
  $("bar").addEventListener("input", remember);
  $("bar").addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", () => { if (location.hash.includes("=")) recall(); });
  $("bar").hidden = false;
  const target = location.hash.length > 1 && !location.hash.includes("=") && $(decodeURIComponent(location.hash.slice(1)));
  recall();
  for (let one = target; one; one = one.parentElement) if (one.tagName === "DETAILS") one.open = true;
  if (target) target.scrollIntoView();
})();
