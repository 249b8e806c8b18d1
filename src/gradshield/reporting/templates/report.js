// The table of rows of a GradShield report. Text of rows is only ever set as textContent.
"use strict";

(() => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("report-data").textContent);
  const { total, scored } = data;
  // The rows of this page, all or some of them, by their numbers; and what it says of each.
  const numbers = data.columns.row ?? [...data.columns.fihs.keys()];
  const columns = Object.fromEntries(
    Object.entries(data.columns).map(([name, column]) => [name, byNumber(column)]),
  );
  const OUTCOMES = { k: "kept", r: "removed", x: "rejected" };
  const SHADES = 6;
  const PRINTED_ROWS = 200;
  const ROW_HEIGHT = 34;
  const MOST_LISTED = 500000; // browsers cannot scroll through more pixels than that

  /** A column by the numbers of the rows; what is by row already, or is not there, as it is. */
  function byNumber(column) {
    if (column === null || !(typeof column === "string" || Array.isArray(column))) return column;
    const found = [];
    numbers.forEach((row, place) => (found[row] = column[place]));
    return found;
  }

  /** An element with properties, attributes (names with a dash or "role") and children. */
  function make(tag, properties = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name.includes("-") || name === "role") element.setAttribute(name, value);
      else element[name] = value;
    }
    element.append(...children);
    return element;
  }

  // ---- Texts of rows: blocks inside the page, and files beside it ------------------------------

  const details = new Map();
  const haystacks = new Map();
  let loaded = false;
  const missing = new Map(data.beside.flatMap((part) => part.rows.map((row) => [row, part])));

  function keep(block) {
    for (const detail of block) details.set(detail.row, detail);
  }

  async function unpack(base64) {
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).json();
  }

  async function unpackAll() {
    for (const element of document.querySelectorAll(".rows-block")) {
      keep(await unpack(element.textContent));
      element.remove();
    }
    loaded = true;
    document.documentElement.dataset.ready = "texts";
    refresh();
  }

  /** The row's text if it lies in a file beside the page; browsers allow that from a server only. */
  async function fetchDetail(row) {
    const part = missing.get(row);
    if (details.has(row) || !part || location.protocol === "file:") return;
    const answer = await fetch(part.file + location.search);
    if (answer.ok) keep(await answer.json());
  }

  // ---- What can be seen of a text --------------------------------------------------------------

  let revealed = false;
  const shownRows = new Set();
  const LETTERS = "aeinorstul";

  /** The shape of a text without its words: the words themselves are not in the page then. */
  function veil(text) {
    let count = 0;
    return text.replace(/\S/g, () => LETTERS[(count += 7) % LETTERS.length]);
  }

  // Characters that cannot be seen or that turn the direction of writing: a text may hide in them.
  const UNSEEN =
    /([\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]|[\u{e0000}-\u{e007f}])/u;

  function putText(element, text) {
    const parts = text.split(UNSEEN);
    parts.forEach((part, index) => {
      if (index % 2 === 0) {
        if (part) element.append(part);
        return;
      }
      const code = part.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
      element.append(make("span", { className: "hidden-character", textContent: `U+${code}` }));
    });
    return element;
  }

  /** The same where only plain text can stand. */
  const plain = (text) => putText(make("span"), text).textContent;

  const has = (row) => columns.fihs[row] !== undefined;
  const isOpen = (row) => revealed || shownRows.has(row);
  const one = (text) => text.replace(/\s+/gu, " ");

  function snippet(row) {
    const detail = details.get(row);
    if (!detail) return columns.id[row] ?? "";
    const turn = detail.turns.find(([role]) => role !== "system") ?? detail.turns[0];
    return turn ? one(turn[1].slice(0, 200)) : "";
  }

  // ---- Figures in words -----------------------------------------------------------------------

  const minus = (text) => text.replace("-", "−");
  const signed = (value, digits = 4) =>
    value === null ? "–" : minus((value < 0 ? "" : "+") + value.toFixed(digits));
  const percentile = (row) =>
    columns.rank[row] === null ? null : (100 * (scored - columns.rank[row] + 1)) / scored;
  const distance = (row) =>
    columns.fihs[row] === null || data.threshold === null ? null : columns.fihs[row] - data.threshold;
  const grouped = (count) => count.toLocaleString("en");

  // ---- Which rows, in which order --------------------------------------------------------------

  const KEYS = {
    row: (row) => row,
    fihs: (row) => columns.fihs[row],
    percentile: (row) => columns.fihs[row],
    outcome: (row) => "rkx".indexOf(columns.outcome[row]),
    findings: (row) => columns.findings[row].length,
    tokens: (row) => columns.tokens[row],
    source: (row) => data.sources[columns.source[row]],
    text: (row) => snippet(row),
  };
  const view = { key: "fihs", down: true, rows: [], selected: null, open: null, group: null };

  function haystack(row) {
    let text = haystacks.get(row);
    if (text === undefined) {
      const detail = details.get(row);
      const turns = detail ? detail.turns.map((turn) => turn[1]) : [];
      text = [columns.id[row] ?? "", ...turns].join("\n").toLowerCase();
      if (detail) haystacks.set(row, text);
    }
    return text;
  }

  function filters() {
    const query = byId("query").value.trim().toLowerCase();
    const outcome = byId("outcome").value;
    const finding = byId("finding").value;
    const source = byId("source").value;
    const low = byId("low").value === "" ? null : byId("low").valueAsNumber;
    const high = byId("high").value === "" ? null : byId("high").valueAsNumber;
    const group = view.group;
    return (row) =>
      (outcome === "" || columns.outcome[row] === outcome) &&
      (finding === "" || columns.findings[row].includes(Number(finding))) &&
      (source === "" || columns.source[row] === Number(source)) &&
      (low === null || (columns.fihs[row] !== null && columns.fihs[row] >= low)) &&
      (high === null || (columns.fihs[row] !== null && columns.fihs[row] <= high)) &&
      (group === null || columns.group[row] === group) &&
      (query === "" || String(row) === query || haystack(row).includes(query));
  }

  /** Rows that have nothing to sort by come last, whichever way; equal ones in file order. */
  function inOrder(rows) {
    const key = KEYS[view.key];
    const values = new Map(rows.map((row) => [row, key(row)]));
    const sign = view.down ? -1 : 1;
    return rows.sort((a, b) => {
      const [x, y] = [values.get(a), values.get(b)];
      if (x === y) return a - b;
      if (x === null) return 1;
      if (y === null) return -1;
      return sign * (x < y ? -1 : 1);
    });
  }

  function refresh() {
    const matches = filters();
    const found = [];
    for (const row of numbers) if (matches(row)) found.push(row);
    view.rows = inOrder(found).slice(0, MOST_LISTED);
    if (!view.rows.includes(view.selected)) view.selected = view.rows[0] ?? null;
    tellStatus(found.length);
    body.replaceChildren(); // lines far down would keep the table scrolled to where none are now
    body.style.height = `${view.rows.length * ROW_HEIGHT}px`;
    grid.setAttribute("aria-rowcount", String(view.rows.length + 1));
    draw();
  }

  function tellStatus(count) {
    const inPage = numbers.length < total ? ` in this page, of ${grouped(total)} in all` : "";
    const parts = [`${grouped(count)} of ${grouped(numbers.length)} rows${inPage}`];
    const wanted = byId("query").value.trim();
    if (/^\d{1,15}$/.test(wanted) && Number(wanted) < total && !has(Number(wanted))) {
      parts.push(`row ${wanted} is not among them: gradshield show RUN --row ${wanted}`);
    }
    if (count > MOST_LISTED) parts.push(`the first ${grouped(MOST_LISTED)} are listed`);
    if (view.group !== null) parts.push("near-duplicates of one response only");
    if (!loaded) parts.push("texts are being unpacked");
    else if (missing.size && byId("query").value) {
      const without = [...missing.keys()].filter((row) => !details.has(row)).length;
      if (without) parts.push(`${grouped(without)} rows without text in this page were not searched`);
    }
    byId("status").textContent = parts.join("; ");
  }

  // ---- The table: only the lines in sight exist -------------------------------------------------

  const grid = byId("grid");
  const body = byId("body");
  const split = byId("split");
  const manySources = data.sources.length > 1;
  const HEADINGS = [
    ["row", "row", true],
    ["fihs", "FIHS", true],
    ["percentile", "percentile", true],
    ["outcome", "outcome", false],
    ["findings", "findings", false],
    ["tokens", "tokens", true],
    ...(manySources ? [["source", "source", false]] : []),
    ["text", "text", false],
  ];
  const lines = new Map();

  function buildHead() {
    for (const [key, name, isNumber] of HEADINGS) {
      const button = make("button", { type: "button", textContent: name });
      button.addEventListener("click", () => {
        view.down = view.key === key ? !view.down : isNumber && key !== "row";
        view.key = key;
        showOrder();
        grid.scrollTop = 0;
        refresh();
      });
      const cell = make("div", { role: "columnheader", className: isNumber ? "num" : "" }, button);
      cell.dataset.key = key;
      byId("head").append(cell);
    }
    byId("head").setAttribute("aria-rowindex", "1");
    showOrder();
  }

  function showOrder() {
    for (const cell of byId("head").children) {
      const mine = cell.dataset.key === view.key;
      cell.setAttribute("aria-sort", mine ? (view.down ? "descending" : "ascending") : "none");
    }
  }

  function draw() {
    const head = byId("head").offsetHeight;
    const first = Math.max(0, Math.floor(grid.scrollTop / ROW_HEIGHT) - 6);
    const last = Math.min(
      view.rows.length,
      Math.ceil((grid.scrollTop + grid.clientHeight - head) / ROW_HEIGHT) + 6,
    );
    const fresh = [];
    for (let place = first; place < last; place += 1) fresh.push(lineOf(view.rows[place], place));
    if (!fresh.length) fresh.push(make("p", { className: "empty", textContent: "No row matches." }));
    body.replaceChildren(...fresh);
    const selected = byId(`row-${view.selected}`);
    if (selected) grid.setAttribute("aria-activedescendant", selected.id);
    else grid.removeAttribute("aria-activedescendant");
  }

  function lineOf(row, place) {
    const cell = (text, className = "") =>
      make("div", { role: "gridcell", className, textContent: text });
    const share = percentile(row);
    const line = make(
      "div",
      { role: "row", id: `row-${row}`, className: "line", "aria-rowindex": String(place + 2) },
      cell(String(row), "num"),
      cell(signed(columns.fihs[row]), "num"),
      cell(share === null ? "–" : share.toFixed(1), "num"),
      badge(row, "gridcell"),
      make("div", { role: "gridcell" }, ...columns.findings[row].map(tag)),
      cell(columns.tokens[row] === null ? "–" : String(columns.tokens[row]), "num"),
    );
    if (manySources) line.append(putText(cell(""), one(data.sources[columns.source[row]])));
    line.append(textCell(row));
    line.setAttribute("aria-selected", String(row === view.selected));
    line.classList.toggle("selected", row === view.selected);
    line.style.top = `${place * ROW_HEIGHT}px`;
    line.dataset.row = row;
    return line;
  }

  function textCell(row) {
    const cell = make("div", { role: "gridcell", dir: "auto" });
    const text = snippet(row);
    if (!details.has(row)) return putText(cell, one(text).slice(0, 200));
    if (isOpen(row)) return putText(cell, text);
    cell.setAttribute("aria-label", "text hidden");
    cell.append(make("span", { className: "veiled", textContent: veil(text) }));
    cell.lastChild.setAttribute("aria-hidden", "true");
    return cell;
  }

  function badge(row, role) {
    const mark = marks.get(row);
    const outcome = columns.outcome[row];
    const text = OUTCOMES[outcome] + (mark ? ` → ${mark.override.action}` : "");
    const changed = columns.state[row] !== outcome ? " overruled" : "";
    const element = make("div", { className: `badge ${outcome}${changed}`, textContent: text });
    if (role) element.setAttribute("role", role);
    return element;
  }

  const tag = (code) =>
    make("span", {
      className: "tag",
      textContent: data.codes[code].replaceAll("_", " "),
      title: data.meanings[data.codes[code]],
    });

  // ---- Moving and opening -----------------------------------------------------------------------

  function select(row) {
    view.selected = row;
    const top = view.rows.indexOf(row) * ROW_HEIGHT;
    const room = grid.clientHeight - byId("head").offsetHeight - ROW_HEIGHT;
    if (top < grid.scrollTop) grid.scrollTop = top;
    else if (top > grid.scrollTop + room) grid.scrollTop = top - room;
    draw();
    if (view.open !== null) open(row);
  }

  function step(by) {
    if (!view.rows.length) return;
    const place = view.rows.indexOf(view.selected);
    select(view.rows[Math.min(view.rows.length - 1, Math.max(0, place + by))]);
  }

  const STEPS = { ArrowDown: 1, ArrowUp: -1, PageDown: 15, PageUp: -15, Home: -Infinity, End: Infinity };

  grid.addEventListener("keydown", (event) => {
    if (event.target !== grid) return;
    if (event.key in STEPS) step(STEPS[event.key]);
    else if (event.key === "Enter" && view.selected !== null) open(view.selected, true);
    else return;
    event.preventDefault();
  });

  grid.addEventListener("click", (event) => {
    const line = event.target.closest(".body .line");
    if (!line) return;
    select(Number(line.dataset.row));
    open(view.selected);
  });

  document.addEventListener("keydown", (event) => {
    const writing = event.target.closest("input, select, textarea");
    if (event.key === "Escape" && view.open !== null) close();
    else if (writing || event.ctrlKey || event.metaKey || event.altKey) return;
    else if (event.key === "/") byId("query").focus();
    else if (event.key === "t" && byId("reveal")) byId("reveal").click();
    else return;
    event.preventDefault();
  });

  let frame = 0;
  grid.addEventListener("scroll", () => {
    if (!frame) frame = requestAnimationFrame(() => ((frame = 0), draw()));
  });
  window.addEventListener("resize", draw);

  // ---- The panel of one row ---------------------------------------------------------------------

  const panel = byId("panel");

  async function open(row, focus = false) {
    view.open = row;
    panel.hidden = false;
    split.classList.add("open");
    await fetchDetail(row);
    if (view.open !== row) return;
    panel.replaceChildren(...panelParts(row));
    panel.scrollTop = 0;
    draw();
    if (focus) panel.querySelector("h3").focus();
  }

  function close() {
    view.open = null;
    panel.hidden = true;
    split.classList.remove("open");
    grid.focus();
    draw();
  }

  /** Go to a row, whatever the filters hide. */
  function visit(row) {
    if (!view.rows.includes(row)) {
      byId("tools").reset();
      view.group = null;
      refresh();
    }
    select(row);
    open(row);
  }

  function panelParts(row) {
    const heading = make("h3", { id: "panel-title", tabIndex: -1, textContent: `Row ${row}` });
    const shut = make("button", { type: "button", className: "quiet", textContent: "Close" });
    shut.addEventListener("click", close);
    const parts = [make("header", {}, heading, badge(row), shut), facts(row)];
    if (columns.reason[row]) {
      parts.push(putText(make("p", { className: "notice" }), columns.reason[row]));
    }
    if (columns.override[row]) parts.push(overrideNote(columns.override[row]));
    parts.push(...findingNotes(row), ...conversation(row), ...neighbours(row));
    if (data.reviewable && details.has(row)) parts.push(markForm(row));
    return parts;
  }

  function facts(row) {
    const share = percentile(row);
    const entries = [
      ["FIHS", signed(columns.fihs[row])],
      ["percentile", share === null ? "–" : share.toFixed(2)],
      ["rank", columns.rank[row] === null ? "–" : `${grouped(columns.rank[row])} of ${grouped(scored)}`],
      ["from the threshold", signed(distance(row))],
      ["loss", columns.loss[row] === null ? "–" : `${columns.loss[row].toFixed(3)} nats`],
      ["response tokens", columns.tokens[row] ?? "–"],
      ["line", columns.line[row] ?? "–"],
      ["id", columns.id[row] ?? "–"],
      ["source", data.sources[columns.source[row]]],
    ];
    return make(
      "dl",
      { className: "facts" },
      ...entries.map(([name, value]) =>
        make("div", {}, make("dt", { textContent: name }), putText(make("dd"), String(value))),
      ),
    );
  }

  function findingNotes(row) {
    return columns.findings[row].map((code) =>
      make("p", { className: "small" }, tag(code), data.meanings[data.codes[code]]),
    );
  }

  function overrideNote(override) {
    const note = make("p", { className: "notice" });
    const reason = override.reason === null ? "" : `: ${override.reason}`;
    return putText(note, `${override.reviewer} said ${override.action} on ${override.time}${reason}`);
  }

  function conversation(row) {
    const detail = details.get(row);
    if (!detail) {
      const reason = !missing.has(row)
        ? "This report holds no text of the rows."
        : "This row did not fit into the page. Open the run with “gradshield review” to read it.";
      return [make("p", { className: "small", textContent: reason })];
    }
    const parts = [];
    if (!isOpen(row)) {
      const show = make("button", { type: "button", className: "quiet", textContent: "Show this text" });
      show.addEventListener("click", () => {
        shownRows.add(row);
        open(row, true);
      });
      parts.push(show);
    }
    let token = 0;
    for (const [role, text, lengths] of detail.turns) {
      parts.push(turnOf(role, text, lengths, detail, token, isOpen(row)));
      token += lengths.length;
    }
    if (detail.cut) {
      const where = columns.line[row] === null ? "" : ` It stands at line ${columns.line[row]}.`;
      const text = `${grouped(detail.cut)} more characters are not shown here.${where}`;
      parts.push(make("p", { className: "notice", textContent: text }));
    }
    if (detail.levels.length) parts.push(shadeLegend(detail));
    if (detail.levels.length && isOpen(row)) parts.push(...strongest(detail));
    return parts;
  }

  function turnOf(role, text, lengths, detail, firstToken, readable) {
    const carriesLoss = lengths.length > 0;
    const name = role + (carriesLoss ? " – carries the loss" : "");
    const shown = readable ? text : veil(text);
    const holder = make("div", { className: readable ? "text" : "text veiled" });
    if (!readable) holder.setAttribute("aria-hidden", "true");
    let at = 0;
    lengths.forEach((length, index) => {
      const token = firstToken + index;
      const piece = shown.slice(at, at + length);
      at += length;
      const span = make("span", { className: shadeClass(detail, token) });
      span.dataset.token = token;
      if (detail.levels.length) span.title = `${signed(contribution(detail, token), 5)} FIHS`;
      holder.append(putText(span, piece));
    });
    const rest = shown.slice(at);
    if (carriesLoss && rest) {
      const unscored = make("span", { className: "unscored", title: "cut away before scoring" });
      holder.append(putText(unscored, rest));
    } else if (rest) putText(holder, rest);
    const heading = make("h4", { textContent: readable ? name : `${name} (text hidden)` });
    return make("section", { className: carriesLoss ? "turn loss" : "turn" }, heading, holder);
  }

  const contribution = (detail, token) => (detail.levels[token] * detail.largest) / data.levels;

  /** Shades compare across rows: the strongest is what one token in a hundred reaches. */
  function shadeClass(detail, token) {
    if (!detail.levels.length) return "";
    const value = contribution(detail, token);
    const strength = Math.min(SHADES, Math.round((SHADES * Math.abs(value)) / data.scale));
    const within = detail.window && token >= detail.window[0] && token < detail.window[1];
    const shade = strength ? (value > 0 ? "h" : "s") + strength : "";
    return [shade, within ? "window" : ""].filter(Boolean).join(" ");
  }

  function shadeLegend(detail) {
    const sample = (className, text) => make("span", { className, textContent: text });
    const legend = make(
      "p",
      { className: "shades" },
      "What each response token adds to FIHS:",
      sample(`s${SHADES}`, signed(-data.scale)),
      sample("s3", signed(-data.scale / 2)),
      sample("h3", signed(data.scale / 2)),
      sample(`h${SHADES}`, `${signed(data.scale)} or more`),
    );
    if (detail.window) legend.append(sample("window", "underlined: the window that counts twice"));
    return legend;
  }

  /** The same in words, for those who see no shades. */
  function strongest(detail) {
    const texts = [];
    for (const [, text, lengths] of detail.turns) {
      let at = 0;
      for (const length of lengths) {
        texts.push(text.slice(at, at + length));
        at += length;
      }
    }
    const order = [...detail.levels.keys()].sort((a, b) => detail.levels[b] - detail.levels[a]);
    const named = order.slice(0, 5).filter((token) => detail.levels[token] > 0);
    if (!named.length) return [];
    const list = make("p", { className: "small" }, "Highest: ");
    named.forEach((token, index) => {
      const end = index < named.length - 1 ? ", " : "";
      const word = texts[token] ? JSON.stringify(texts[token]) : "part of a character";
      putText(list, `${word} ${signed(contribution(detail, token))}${end}`);
    });
    return [list];
  }

  function neighbours(row) {
    const groups = [
      ["Nearest kept", columns.nearest_kept[row]],
      ["Nearest removed", columns.nearest_removed[row]],
    ];
    const parts = groups
      .filter(([, rows]) => rows.length)
      .map(([name, rows]) => make("p", { className: "small" }, `${name} by score: `, ...links(rows)));
    const group = columns.group[row];
    if (group !== null) {
      const others = [];
      for (const other of numbers) {
        if (other !== row && columns.group[other] === group) others.push(other);
      }
      const all = make("button", { type: "button", className: "link", textContent: "list them" });
      all.addEventListener("click", () => {
        byId("tools").reset();
        view.group = group;
        refresh();
      });
      const where = numbers.length < total ? " of this page" : "";
      const text = `${grouped(others.length)} other rows${where} with nearly this response: `;
      parts.push(make("p", { className: "small" }, text, ...links(others.slice(0, 8)), all));
    }
    return parts.length ? [make("h3", { textContent: "Rows beside it" }), ...parts] : [];
  }

  function links(rows) {
    return rows.flatMap((row) => {
      if (!has(row)) return [`${row} (not in this page) `];
      const text = `${row} (${signed(columns.fihs[row], 3)})`;
      const button = make("button", { type: "button", className: "link", textContent: text });
      button.addEventListener("click", () => visit(row));
      return [button, " "];
    });
  }

  // ---- Overruling -------------------------------------------------------------------------------

  const server = document.querySelector('meta[name="gradshield-review"]')?.content ?? null;
  const marks = new Map(); // row -> { override, saved }
  for (const override of JSON.parse(byId("gradshield-marks")?.textContent ?? "[]")) {
    marks.set(override.row, { override, saved: true });
  }
  let reviewer = document.querySelector('meta[name="gradshield-reviewer"]')?.content ?? "";
  let exported = true;

  function markForm(row) {
    const name = make("input", { type: "text", value: reviewer, autocomplete: "name" });
    name.id = "reviewer";
    const note = make("textarea", { id: "note", value: marks.get(row)?.override.reason ?? "" });
    const fault = make("p", { role: "alert" });
    const said = make("span", { className: "small", role: "status", textContent: markText(row) });
    const buttons = ["keep", "remove"].map((action) => {
      const button = make("button", {
        type: "button",
        id: `mark-${action}`,
        textContent: action === "keep" ? "Keep this row" : "Remove this row",
      });
      button.addEventListener("click", async () => {
        reviewer = name.value.trim();
        const reason = note.value.trim();
        fault.textContent = "";
        if (!reviewer || !reason) {
          fault.textContent = "A mark needs your name and a reason: it stands in the audit trail.";
          (reviewer ? note : name).focus();
          return;
        }
        said.textContent = server ? "Saving…" : "";
        await mark(row, action, reason);
        said.textContent = markText(row);
        undo.hidden = false;
        panel.querySelector(".badge").replaceWith(badge(row));
      });
      return button;
    });
    const undo = make("button", { type: "button", className: "quiet", textContent: "Take mark back" });
    undo.hidden = !marks.has(row);
    undo.addEventListener("click", async () => {
      await takeBack(row);
      open(row, true);
    });
    return make(
      "div",
      { className: "mark" },
      make("h3", { textContent: "Your decision" }),
      make("label", {}, "Your name", name),
      make("label", {}, "Reason", note),
      make("div", { className: "buttons" }, ...buttons, undo, said),
      fault,
    );
  }

  function markText(row) {
    const made = marks.get(row);
    if (!made) return "";
    if (!server) return `Marked: ${made.override.action}. Export the marks when you are done.`;
    return made.saved ? `Saved: ${made.override.action}.` : `Not saved: ${made.fault}`;
  }

  async function mark(row, action, reason) {
    const override = {
      row,
      fingerprint: details.get(row).fingerprint,
      action,
      reviewer,
      time: new Date().toISOString().replace(/\.\d+Z$/, "Z"),
      reason,
    };
    const made = { override, ...(await save(override)) };
    marks.set(row, made);
    exported = false;
    tellMarks();
    draw();
  }

  async function takeBack(row) {
    const made = marks.get(row);
    if (made.saved) {
      const time = new Date().toISOString().replace(/\.\d+Z$/, "Z");
      const outcome = await save({ ...made.override, action: "withdraw", time });
      if (!outcome.saved) return;
    }
    marks.delete(row);
    tellMarks();
  }

  /** Hand an override to the review server, if the page came from one. */
  async function save(override) {
    if (!server) return { saved: false };
    try {
      const answer = await fetch(server, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(override),
      });
      if (answer.ok) return { saved: true };
      const fault = (await answer.text()).slice(0, 300) || `error ${answer.status}`;
      return { saved: false, fault };
    } catch {
      return { saved: false, fault: "the review server does not answer" };
    }
  }

  function tellMarks() {
    const unsaved = [...marks.values()].filter((made) => !made.saved).length;
    const count = marks.size === 1 ? "1 row is marked." : `${grouped(marks.size)} rows are marked.`;
    byId("marked").textContent = marks.size ? count : "No row is marked.";
    byId("export").disabled = marks.size === 0;
    byId("marks-help").textContent = server
      ? unsaved ? `${grouped(unsaved)} not saved; export them instead.` : "Marks are saved at once."
      : "Then: gradshield apply RUN --overrides overrides.json";
    exported = exported || unsaved === 0;
  }

  function exportMarks() {
    const overrides = [...marks.values()].map((made) => made.override);
    overrides.sort((a, b) => a.row - b.row);
    const content = JSON.stringify({ version: 1, run: data.run, overrides }, null, 2) + "\n";
    const address = URL.createObjectURL(new Blob([content], { type: "application/json" }));
    make("a", { href: address, download: "overrides.json" }).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
    exported = true;
  }

  // ---- Start ------------------------------------------------------------------------------------

  function fillChoices() {
    data.codes.forEach((code, index) => {
      byId("finding").append(make("option", { value: index, textContent: code.replaceAll("_", " ") }));
    });
    byId("source-label").hidden = !manySources;
    if (!manySources) return;
    grid.classList.add("sources");
    data.sources.forEach((source, index) => {
      byId("source").append(make("option", { value: index, textContent: plain(one(source)) }));
    });
  }

  const THEMES = ["system", "light", "dark"];
  byId("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const now = THEMES.indexOf(root.dataset.theme ?? "system");
    const next = THEMES[(now + 1) % THEMES.length];
    if (next === "system") delete root.dataset.theme;
    else root.dataset.theme = next;
    byId("theme").textContent = `Theme: ${next}`;
  });

  let waiting = 0;
  byId("tools").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      grid.scrollTop = 0;
      refresh();
    }, 90);
  });
  byId("tools").addEventListener("submit", (event) => event.preventDefault());
  byId("tools").addEventListener("reset", () => {
    view.group = null;
    setTimeout(refresh);
  });
  byId("reveal")?.addEventListener("change", (event) => {
    revealed = event.target.checked;
    if (!revealed) shownRows.clear();
    draw();
    if (view.open !== null) open(view.open);
  });
  byId("export")?.addEventListener("click", exportMarks);
  window.addEventListener("beforeunload", (event) => {
    if (!exported) event.preventDefault();
  });

  /** On paper there is no scrolling: the first rows of the table as it is filtered and sorted. */
  window.addEventListener("beforeprint", () => {
    const head = ["row", "line", "FIHS", "percentile", "outcome", "findings", "text"];
    const table = make(
      "table",
      { className: "figures" },
      make("thead", {}, make("tr", {}, ...head.map((name) => make("th", { textContent: name })))),
      make("tbody", {}, ...view.rows.slice(0, PRINTED_ROWS).map(printedRow)),
    );
    const count = Math.min(PRINTED_ROWS, view.rows.length);
    const note = `The first ${grouped(count)} of ${grouped(view.rows.length)} rows of the table.`;
    byId("printed").replaceChildren(make("p", { className: "small", textContent: note }), table);
  });
  window.addEventListener("afterprint", () => byId("printed").replaceChildren());

  function printedRow(row) {
    const share = percentile(row);
    const text = details.has(row) && !isOpen(row) ? "(hidden)" : snippet(row).slice(0, 90);
    const cells = [
      row,
      columns.line[row] ?? "–",
      signed(columns.fihs[row]),
      share === null ? "–" : share.toFixed(1),
      OUTCOMES[columns.outcome[row]],
      columns.findings[row].map((code) => data.codes[code].replaceAll("_", " ")).join(", "),
      text,
    ];
    return make("tr", {}, ...cells.map((value) => putText(make("td"), String(value))));
  }

  buildHead();
  fillChoices();
  if (byId("review")) tellMarks();
  refresh();
  document.documentElement.dataset.ready = "table";
  unpackAll();
})();
