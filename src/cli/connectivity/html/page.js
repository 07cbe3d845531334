"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const element = (name, text, attributes) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
    return made;
  };
  const key = (from, to) => from + ">" + to;
  const nameOf = (party) => data.parties[party].name;
  const cells = new Map(data.cells.map((cell) => [key(cell.from, cell.to), cell]));
  const what = (line) => (line.pairs === "some" ? "some: " : "") + line.protocols + (line.protocols === "any" || !line.ports ? "" : " " + line.ports);

  // Every line with the text that a filter looks through.
  const lines = data.cells.flatMap((cell) => cell.lines.map((line) => {
    const columns = [nameOf(cell.from), nameOf(cell.to), line.pairs === "some" ? line.decision + " some" : line.decision, line.protocols, line.ports || "-",
      line.via, line.ip, data.reasons[line.reason]];
    return { cell, line, columns, text: columns.join(" ").toLowerCase() };
  }));
  const HEADINGS = ["From", "To", "Decision", "Protocol", "Ports", "Via", "IP", "Rules"];

  // What is shown stands behind the # of the address, so that it can be sent to others.
  const state = { filter: "", denied: data.all, sort: null, cell: null };
  const read = () => {
    const hash = new URLSearchParams(location.hash.slice(1));
    state.filter = hash.get("filter") || "";
    state.denied = hash.has("denied") ? hash.get("denied") === "yes" : data.all;
    const sort = (hash.get("sort") || "").match(/^(-?)([0-7])$/);
    state.sort = sort ? { column: Number(sort[2]), down: sort[1] === "-" } : null;
    const find = (name) => Object.keys(data.parties).find((party) => nameOf(party) === hash.get(name));
    const [from, to] = [find("from"), find("to")];
    state.cell = from !== undefined && to !== undefined ? key(from, to) : null;
  };
  const write = () => {
    const hash = new URLSearchParams();
    if (state.filter) hash.set("filter", state.filter);
    if (state.denied !== data.all) hash.set("denied", state.denied ? "yes" : "no");
    if (state.sort) hash.set("sort", (state.sort.down ? "-" : "") + state.sort.column);
    if (state.cell) {
      const [from, to] = state.cell.split(">");
      hash.set("from", nameOf(from));
      hash.set("to", nameOf(to));
    }
    const text = hash.toString();
    history.replaceState(null, "", text ? "#" + text : location.pathname + location.search);
  };

  const drawMatrix = (kept, filtered) => {
    const table = $("matrix");
    const shownPairs = new Set(kept.map((entry) => key(entry.cell.from, entry.cell.to)));
    const rows = data.from.filter((party) => !filtered || kept.some((entry) => entry.cell.from === party));
    const columns = data.to.filter((party) => !filtered || kept.some((entry) => entry.cell.to === party));
    const words = data.words || (rows.length <= 12 && columns.length <= 12);
    table.className = words ? "" : "small";
    table.replaceChildren();
    // The first party of a namespace stands apart from the one before.
    const first = (parties) => new Set(parties.filter((party, index) =>
      index && data.parties[party].section !== data.parties[parties[index - 1]].section));
    const [firstRows, firstColumns] = [first(rows), first(columns)];
    const heading = (party, scope) => {
      const cell = element("th", undefined, { scope, title: nameOf(party) + ": " + data.parties[party].detail });
      if (scope === "col" && firstColumns.has(party)) cell.classList.add("left");
      cell.append(element("span", nameOf(party)));
      return cell;
    };
    const head = element("tr");
    head.append(element("th", "from \\ to"), ...columns.map((party) => heading(party, "col")));
    const top = element("thead");
    top.append(head);
    const body = element("tbody");
    for (const from of rows) {
      const row = element("tr", undefined, firstRows.has(from) ? { class: "above" } : {});
      row.append(heading(from, "row"));
      for (const to of columns) {
        const pair = key(from, to);
        const cell = cells.get(pair);
        const made = element("td", undefined, { class: cell ? cell.state : "none" });
        if (firstColumns.has(to)) made.classList.add("left");
        if (cell) {
          const texts = cell.state === "denied" ? [cell.sign] : words ? cell.texts : [cell.sign];
          texts.forEach((text, index) => made.append(...(index ? [element("br"), text] : [text])));
          made.tabIndex = 0;
          made.dataset.pair = pair;
          const told = cell.texts.length ? cell.texts : ["denied by policy"];
          made.title = nameOf(from) + " → " + nameOf(to) + "\n" + told.join("\n");
          if (filtered && !shownPairs.has(pair)) made.classList.add("dim");
          if (pair === state.cell) made.classList.add("chosen");
        }
        row.append(made);
      }
      body.append(row);
    }
    table.append(top, body);
  };

  const drawList = (kept) => {
    const head = element("tr");
    HEADINGS.forEach((text, column) => {
      const sorted = state.sort && state.sort.column === column;
      const cell = element("th", undefined, sorted ? { "aria-sort": state.sort.down ? "descending" : "ascending" } : {});
      cell.append(element("button", text, { type: "button", "data-column": column }));
      head.append(cell);
    });
    $("list").tHead.replaceChildren(head);
    const sorted = state.sort ? [...kept].sort((one, other) => {
      const order = one.columns[state.sort.column].localeCompare(other.columns[state.sort.column], "en", { numeric: true });
      return state.sort.down ? -order : order;
    }) : kept;
    $("list").tBodies[0].replaceChildren(...sorted.map((entry) => {
      const row = element("tr", undefined, { class: entry.line.decision, "data-pair": key(entry.cell.from, entry.cell.to) });
      row.append(...entry.columns.map((text) => element("td", text)));
      return row;
    }));
  };

  const drawDetail = () => {
    const cell = state.cell && cells.get(state.cell);
    if (!cell) {
      $("detail").replaceChildren(element("p", "Choose a cell to see its rules."));
      return;
    }
    const list = element("dl");
    for (const line of cell.lines) {
      const via = line.via === "direct" ? "" : " via " + line.via;
      const text = line.decision + " " + what(line) + via + ", IPv" + line.ip.replace(",", " and IPv");
      list.append(element("dt", text, { class: line.decision }));
      list.append(...data.reasons[line.reason].split("; ").map((rule) => element("dd", rule)));
    }
    $("detail").replaceChildren(element("h2", nameOf(cell.from) + " → " + nameOf(cell.to)), list);
  };

  const draw = () => {
    const words = state.filter.toLowerCase().split(/\s+/).filter((word) => word);
    const kept = lines.filter((entry) => (state.denied || entry.line.decision === "allow")
      && words.every((word) => entry.text.includes(word)));
    $("filter").value = state.filter;
    $("denied").checked = state.denied;
    $("shown").textContent = kept.length + (kept.length === 1 ? " line" : " lines");
    drawMatrix(kept, words.length > 0);
    drawList(kept);
    drawDetail();
  };
  const change = (changes) => {
    Object.assign(state, changes);
    write();
    draw();
  };

  $("filter").addEventListener("input", (event) => change({ filter: event.target.value }));
  $("denied").addEventListener("change", (event) => change({ denied: event.target.checked }));
  document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
  const choose = (event) => {
    const place = event.target.closest("[data-pair]");
    if (!place) return;
    state.cell = place.dataset.pair;
    write();
    document.querySelectorAll("#matrix td.chosen").forEach((cell) => cell.classList.remove("chosen"));
    document.querySelectorAll("#matrix td[data-pair]").forEach((cell) => {
      if (cell.dataset.pair === state.cell) cell.classList.add("chosen");
    });
    drawDetail();
  };
  $("matrix").addEventListener("click", choose);
  $("matrix").addEventListener("keydown", (event) => { if (event.key === "Enter") choose(event); });
  $("list").addEventListener("click", (event) => {
    const button = event.target.closest("button[data-column]");
    if (!button) return choose(event);
    const column = Number(button.dataset.column);
    const down = state.sort !== null && state.sort.column === column && !state.sort.down;
    change({ sort: { column, down } });
  });
  window.addEventListener("hashchange", () => { read(); draw(); });
  read();
  draw();
})();
