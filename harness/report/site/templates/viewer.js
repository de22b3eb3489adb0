// Decodes VMCBs: those of the run, which come as scripts when they are asked for, or a person's own file.
"use strict";
const svmconf = {};
(() => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const boots = new Map(); // name: dumps
  const PAGE = 4096;
  let shown = null; // { label, before, after }: bytes

  const make = (name, props, ...children) => {
    const element = Object.assign(document.createElement(name), props);
    element.append(...children);
    return element;
  };

  // Bytes
  function bytesOf(pieces) {
    const page = new Uint8Array(PAGE);
    for (const [start, hex] of pieces) {
      for (let n = 0; n < hex.length; n += 2) page[start + n / 2] = parseInt(hex.slice(n, n + 2), 16);
    }
    return page;
  }
  function value(page, offset, size) {
    let found = 0n;
    for (let n = size - 1; n >= 0; n--) found = (found << 8n) | BigInt(page[offset + n]);
    return found;
  }
  const hex = (number, size) => number.toString(16).padStart(2 * size, "0").replace(/(?=(?:.{4})+$)(?!^)/g, "_");

  // Fields: those that are known, and bytes between them that are not zero.
  function rows(pages) {
    const known = data.fields.map(([name, offset, size]) => ({ name, offset, size }));
    const named = new Uint8Array(PAGE);
    for (const { offset, size } of known) named.fill(1, offset, offset + size);
    for (let at = 0; at < PAGE; at += 8) {
      const rest = [...Array(8).keys()].filter((n) => !named[at + n]);
      if (rest.length === 8 && pages.some((page) => value(page, at, 8))) known.push({ name: "", offset: at, size: 8 });
      else if (rest.length < 8) {
        for (const n of rest) {
          if (pages.some((page) => page[at + n])) known.push({ name: "", offset: at + n, size: 1 });
        }
      }
    }
    return known.sort((a, b) => a.offset - b.offset);
  }

  function meaning(name, number) {
    if (name === "exitcode") return data.exits[number.toString(16)] ?? "unknown exit code";
    const words = [];
    if (name === "eventinj" || name === "exitintinfo") words.push(event(number));
    const bits = data.bits[name];
    if (bits) {
      for (const [bit, word] of Object.entries(bits)) if ((number >> BigInt(bit)) & 1n) words.push(word);
    }
    return words.filter(Boolean).join(" ");
  }
  function event(number) {
    if (!((number >> 31n) & 1n)) return "";
    const kind = { 0: "interrupt", 2: "NMI", 3: "exception", 4: "software interrupt" }[Number((number >> 8n) & 7n)];
    return `${kind ?? "reserved type"} ${number & 255n}`;
  }

  function draw() {
    if (!shown) return;
    const { before, after } = shown;
    const pages = after ? [before, after] : [before];
    const wanted = $("find").value.toLowerCase(), which = $("show").value;
    const bodies = [];
    for (const [title, from, to] of [["Control area", 0, data.save], ["State save area", data.save, PAGE]]) {
      const body = make("tbody", {}, make("tr", { className: "section" }, make("th", { colSpan: 5, scope: "rowgroup" }, title)));
      for (const field of rows(pages)) {
        if (field.offset < from || field.offset >= to) continue;
        const [was, now] = pages.map((page) => value(page, field.offset, field.size));
        const changed = after !== null && was !== now;
        if (which === "set" && !was && !now) continue;
        if (which === "changed" && !changed) continue;
        if (wanted && !(field.name || "unnamed").includes(wanted)) continue;
        body.append(line(field, was, now, changed));
      }
      if (body.rows.length > 1) bodies.push(body);
    }
    const table = $("fields");
    for (const old of [...table.tBodies]) old.remove();
    table.append(...bodies);
    table.hidden = false;
    table.classList.toggle("alone", after === null);
    const count = table.querySelectorAll("tr.changed").length;
    $("about").textContent = shown.label + (after ? `; ${count} shown field${count === 1 ? "" : "s"} changed` : "");
  }

  function line({ name, offset, size }, was, now, changed) {
    const last = now ?? was;
    const place = offset.toString(16).toUpperCase().padStart(3, "0") + "h";
    return make("tr", { className: changed ? "changed" : "" },
      make("td", {}, place),
      make("th", { scope: "row" }, name || make("i", {}, "unnamed")),
      make("td", { className: "hex" }, hex(was, size)),
      make("td", { className: "hex after" }, now === undefined ? "" : changed ? make("mark", {}, hex(now, size)) : "same"),
      make("td", { className: "words" }, meaning(name, last)));
  }

  // The run's own
  svmconf.dumps = (boot, dumps) => {
    boots.set(boot, dumps.map(({ label, before, after }) => (
      { label, before: bytesOf(before), after: after && bytesOf(after) })));
    if ($("boot").value === boot) choose();
  };
  function load() {
    const boot = $("boot").value;
    if (boots.has(boot)) choose();
    else if (boot) document.head.append(make("script", { src: `vmcb/${encodeURIComponent(boot)}.js` }));
  }
  function choose(number = 0) {
    const dumps = boots.get($("boot").value);
    $("dump").replaceChildren(...dumps.map((dump, n) => make("option", { value: n }, dump.label)));
    $("dump").value = Math.min(number || Number(state().get("dump") ?? 0), dumps.length - 1);
    pick();
  }
  function pick() {
    const boot = $("boot").value, dump = boots.get(boot)?.[$("dump").value];
    if (!dump) return;
    shown = { ...dump, label: `${$("boot").selectedOptions[0].label}: ${dump.label}` };
    history.replaceState(null, "", "#" + new URLSearchParams({ boot, dump: $("dump").value }));
    draw();
  }
  const state = () => new URLSearchParams(location.hash.slice(1));
  function recall() {
    const boot = state().get("boot");
    if (boot && $("boot") && [...$("boot").options].some((option) => option.value === boot)) {
      $("boot").value = boot;
      load();
    }
  }

  // A person's own
  function page(buffer) {
    const raw = new Uint8Array(buffer);
    if (raw.length === PAGE) return raw;
    const digits = new TextDecoder().decode(raw).replace(/\s+/g, "");
    if (digits.length !== 2 * PAGE || /[^0-9a-f]/i.test(digits)) return null;
    return bytesOf([[0, digits]]);
  }
  $("own").addEventListener("change", async () => {
    const files = [...$("own").files].slice(0, 2);
    const pages = (await Promise.all(files.map((file) => file.arrayBuffer()))).map(page);
    if (!files.length) return;
    if (pages.includes(null)) {
      $("about").textContent = "That is no VMCB: it takes 4096 bytes, as they are or in hexadecimal.";
      return;
    }
    shown = { label: files.map((file) => file.name).join(" and "), before: pages[0], after: pages[1] ?? null };
    draw();
  });

  if ($("boot")) {
    $("boot").addEventListener("change", () => { history.replaceState(null, "", "#"); load(); });
    $("dump").addEventListener("change", pick);
  }
  $("show").addEventListener("change", draw);
  $("find").addEventListener("input", draw);
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.target.closest("input, select")) { event.preventDefault(); $("find").focus(); }
  });
  $("bar").addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", recall);
  $("bar").hidden = false;
  recall();
})();
