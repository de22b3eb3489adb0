// Filters, details and keys. The table stands without them; the data beside it has every text once.
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const table = $("matrix"), dialog = $("details"), page = document.body;
  const rows = [...table.querySelectorAll("tbody tr:not(.section)")];
  const places = new Map(rows.map((tr, n) => [tr, n]));
  const text = (n) => data.texts[n];

  const entries = new Map(); // by "case engine"
  for (const entry of data.entries) {
    const key = entry[0] + " " + entry[1];
    entries.has(key) ? entries.get(key).push(entry) : entries.set(key, [entry]);
  }
  const judged = (row, engine) => data.rows[row].cases.flatMap((c) => entries.get(c + " " + engine) ?? []);

  // Making elements: everything from a ledger goes in as text, never as markup.
  const make = (name, props, ...children) => {
    const element = Object.assign(document.createElement(name), props);
    element.append(...children.filter((child) => child !== null && child !== ""));
    return element;
  };
  const badge = (verdict) =>
    make("b", { className: data.verdicts[verdict] }, data.marks[verdict] + " " + data.verdicts[verdict]);

  // Filters; what is chosen stands in the address, so that a view can be shared.
  const words = rows.map((tr, n) => {
    const row = data.rows[n];
    const cases = row.cases.map((c) => data.cases[c].join(" "));
    const reasons = data.engines.flatMap((_, e) => judged(n, e).map((entry) => text(entry[5])));
    return [row.id, tr.cells[0].textContent, ...cases, ...new Set(reasons)].join(" ").toLowerCase();
  });

  function filter() {
    const wanted = $("find").value.toLowerCase().split(/\s+/).filter(Boolean);
    const show = $("show").value, priority = $("priority").value, section = $("section").value;
    let shown = 0;
    for (const body of table.tBodies) {
      let some = false;
      for (const tr of body.rows) {
        if (!places.has(tr)) continue;
        const fits = (!section || body.id === "s" + section)
          && (!priority || data.rows[places.get(tr)].priority === priority)
          && (show !== "differs" || tr.classList.contains("differs"))
          && (show !== "ran" || data.rows[places.get(tr)].cases.length)
          && (show !== "bad" || tr.hasAttribute("data-bad"))
          && wanted.every((word) => words[places.get(tr)].includes(word));
        tr.hidden = !fits;
        some ||= fits;
        shown += fits;
      }
      body.hidden = !some;
    }
    $("shown").textContent = shown === rows.length ? `${shown} rows` : `${shown} of ${rows.length} rows`;
    $("none").hidden = shown > 0;
  }

  const FIELDS = ["find", "show", "priority", "section"];
  function remember() {
    const state = new URLSearchParams();
    for (const name of FIELDS) if ($(name).value) state.set(name, $(name).value);
    history.replaceState(null, "", "#" + state);
    filter();
  }
  function recall() {
    const state = new URLSearchParams(location.hash.slice(1));
    if (location.hash.includes("=")) for (const name of FIELDS) $(name).value = state.get(name) ?? "";
    filter();
    const [id, engine] = (state.get("cell") ?? "").split(" ");
    const row = data.rows.findIndex((one) => one.id === id);
    if (row >= 0) open(cellOf(row, data.engines.findIndex((one) => one.name === engine)));
  }
  const cellOf = (row, engine) => rows[row].cells[engine + 1];

  // Details
  function open(cell) {
    const tr = cell.parentElement, engine = cell.cellIndex - 1;
    const body = make("div", { className: "body" });
    let title;
    if (tr.parentElement.tagName === "THEAD") {
      title = [data.engines[engine].name];
      aboutEngine(body, data.engines[engine]);
    } else if (places.has(tr)) {
      const row = places.get(tr);
      title = [tr.cells[0].querySelector("a").cloneNode(true), engine >= 0 ? " on " + data.engines[engine].name : ""];
      body.append(make("p", {}, tr.cells[0].querySelector("span").textContent));
      if (engine >= 0) aboutCell(body, row, engine);
      aboutRow(body, row);
    } else return;
    const close = make("button", { className: "close", type: "button", onclick: () => dialog.close() }, "✕");
    close.setAttribute("aria-label", "Close");
    dialog.replaceChildren(close, make("h2", {}, ...title), body);
    dialog.onclose = () => focus(cell);
    dialog.showModal();
    dialog.scrollTop = 0;
  }

  function aboutEngine(body, engine) {
    const counts = Object.entries(engine.counts).map(([verdict, count]) => `${count} ${verdict}`).join(", ");
    const lines = engine.unavailable ? [`not here: ${engine.unavailable}`]
      : [engine.version, engine.why, `CPU models: ${engine.cpus.join(", ")}`, counts || "no case ran"];
    body.append(...lines.map((line) => make("p", {}, line)));
  }

  function aboutCell(body, row, engine) {
    const one = data.engines[engine];
    body.append(make("p", { className: "soft" }, one.unavailable ? `not here: ${one.unavailable}` : one.version));
    for (const number of data.rows[row].cases) {
      const found = entries.get(number + " " + engine);
      if (!found) continue;
      const [name, claim, source] = data.cases[number];
      const list = [...found].sort((a, b) => a[2] - b[2]).map(setting);
      const cpus = [...new Set(found.map((entry) => text(entry[3]).replace(/,-svm$/, "")))];
      const fill = { engine: one.name.split("@")[0], cpu: cpus.join(","), name: name.split("::").pop() };
      body.append(
        make("h3", {}, claim || name), make("small", {}, source || name), make("ul", {}, ...list),
        make("code", { title: "repeats it" }, data.reproduce.replace(/\{(\w+)\}/g, (_, key) => fill[key])));
    }
    if (!judged(row, engine).length) body.append(make("p", {}, "No case ran here."));
  }

  function setting([, , verdict, cpu, variant, reason, told, answered, layers]) {
    const line = make("li", {}, badge(verdict), " ", [text(cpu), text(variant)].filter(Boolean).join(" "));
    for (const fault of text(told).split("; ").filter(Boolean)) {
      line.append(make("i", { className: fault.split(": ").pop().replace(" ", "-") }, fault));
    }
    if (text(answered)) line.append(make("i", { className: "by" }, "answered by " + text(answered)));
    if (text(reason)) line.append(make("p", { className: "reason" }, text(reason)));
    if (text(layers)) line.append(make("small", {}, text(layers)));
    return line;
  }

  function aboutRow(body, row) {
    const groups = data.rows[row].groups;
    if (!groups.length) return;
    body.append(make("h3", {}, groups.length > 1 ? "What engines observed" : "All engines observed the same"));
    body.append(make("ul", {}, ...groups.map((group) => {
      const seen = judged(row, group[0]).filter((entry) => data.verdicts[entry[2]] !== "skip");
      const worst = seen.sort((a, b) => a[2] - b[2])[0];
      return make("li", {}, badge(worst[2]), " ", group.map((e) => data.engines[e].name).join(", "),
        text(worst[5]) ? make("p", { className: "reason soft" }, text(worst[5]).split("\n")[0]) : "");
    })));
  }

  // Keys: arrows walk over what is shown, Enter opens, / searches, Escape leaves.
  let current = null;
  function focus(cell) {
    if (current) current.tabIndex = -1;
    current = cell;
    cell.tabIndex = 0;
    cell.focus({ preventScroll: false });
  }
  const visible = () => [table.tHead.rows[0], ...rows.filter((tr) => !tr.hidden)];
  function walk(key) {
    const lines = visible(), at = lines.indexOf(current.parentElement);
    const down = { ArrowDown: 1, ArrowUp: -1, PageDown: 12, PageUp: -12 }[key] ?? 0;
    const right = { ArrowRight: 1, ArrowLeft: -1 }[key] ?? 0;
    const line = lines[Math.max(0, Math.min(lines.length - 1, at + down))];
    const column = { Home: 0, End: line.cells.length - 1 }[key] ?? current.cellIndex + right;
    if (line.cells[column]) focus(line.cells[column]);
  }
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, select, dialog");
    if (event.key === "/" && !typing) { event.preventDefault(); $("find").focus(); }
    if (event.key === "Escape" && typing === $("find")) { $("find").value = ""; remember(); focus(current); }
    if (typing || event.ctrlKey || event.altKey || event.metaKey || event.target !== current) return;
    if (/^(Arrow|Page|Home|End)/.test(event.key)) { event.preventDefault(); walk(event.key); }
    if ((event.key === "Enter" || event.key === " ") && event.target === current) { event.preventDefault(); open(current); }
  });
  table.addEventListener("click", (event) => {
    const cell = event.target.closest("td, th");
    if (cell && !event.target.closest("a") && !cell.classList.contains("corner")) { focus(cell); open(cell); }
  });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });

  // The sticky parts stand below one another.
  const measure = () => {
    for (const [name, element] of [["--bar", $("bar")], ["--head", table.tHead]]) {
      document.documentElement.style.setProperty(name, element.offsetHeight + "px");
    }
  };
  new ResizeObserver(measure).observe(table.tHead);
  measure();
  $("bar").addEventListener("input", remember);
  $("bar").addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", recall);
  const first = rows.find((tr) => !tr.hidden);
  if (first) { current = first.cells[1] ?? first.cells[0]; current.tabIndex = 0; }
  recall();
})();
