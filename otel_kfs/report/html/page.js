// What a page does beyond what it is without this: tooltips, highlighting, sorting, filtering, copying. It asks nobody for
// anything.
"use strict";

// --- tooltips: for the pointer, and by arrow keys where a chart has the focus ---
const tip = document.getElementById("tip");

function show(mark) {
  tip.textContent = mark.getAttribute("aria-label");
  const box = mark.getBoundingClientRect();
  const own = tip.getBoundingClientRect();
  const left = box.left + Math.min(box.width, 400) / 2 - own.width / 2;
  tip.style.left = Math.max(8, Math.min(left, innerWidth - own.width - 8)) + "px";
  tip.style.top = (box.top - own.height - 8 > 0 ? box.top - own.height - 8 : box.bottom + 8) + "px";
  tip.classList.add("shown");
}

function hide() {
  tip.classList.remove("shown");
  for (const mark of document.querySelectorAll(".mark.at")) mark.classList.remove("at");
}

for (const chart of document.querySelectorAll("svg.chart")) {
  // The browser's own tooltips would cover ours.
  const title = chart.querySelector(":scope > title");
  chart.setAttribute("aria-label", title.textContent);
  title.remove();
  const marks = [...chart.querySelectorAll(".mark")];
  for (const mark of marks) {
    const own = mark.querySelector("title");
    mark.setAttribute("aria-label", own.textContent);
    own.remove();
    mark.addEventListener("mouseenter", () => show(mark));
    mark.addEventListener("mouseleave", hide);
  }
  if (!marks.length) continue;
  chart.setAttribute("tabindex", "0");
  let at = -1;
  chart.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") hide();
    if (!step) return;
    event.preventDefault();
    at = at < 0 && step < 0 ? marks.length - 1 : (at + step + marks.length) % marks.length;
    hide();
    marks[at].classList.add("at");
    marks[at].scrollIntoView({ block: "nearest", inline: "nearest" });
    show(marks[at]);
  });
  chart.addEventListener("blur", hide);
}
// A mark may just have been scrolled into view: its tip goes with it.
addEventListener("scroll", () => {
  const at = document.querySelector(".mark.at") ?? document.querySelector(".mark:hover");
  if (at) show(at);
  else hide();
}, { passive: true, capture: true });

// --- the legend: what is pointed at, focused or pressed there stands out in all charts ---
const keys = [...document.querySelectorAll(".key")];
let pinned = null;

function highlight(segment) {
  document.body.classList.toggle("highlighting", segment !== null);
  for (const each of document.querySelectorAll("[data-segment]")) {
    each.classList.toggle("lit", segment !== null && each.dataset.segment === segment);
  }
}

for (const key of keys) {
  const segment = key.dataset.segment;
  key.setAttribute("role", "button");
  key.setAttribute("tabindex", "0");
  key.setAttribute("aria-pressed", "false");
  key.setAttribute("aria-label", `Highlight ${segment}`);
  key.title = segment;
  const press = () => {
    pinned = pinned === segment ? null : segment;
    for (const each of keys) each.setAttribute("aria-pressed", String(each.dataset.segment === pinned));
    highlight(pinned);
  };
  key.addEventListener("click", press);
  key.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && pinned !== null) {
      pinned = segment;
      press();
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      press();
    }
  });
  for (const [begin, end] of [["mouseenter", "mouseleave"], ["focus", "blur"]]) {
    key.addEventListener(begin, () => highlight(segment));
    key.addEventListener(end, () => highlight(pinned));
  }
}

// --- where one is ---
const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
const headings = [...links.keys()].map((id) => document.getElementById(id)).filter(Boolean);

function mark() {
  const atEnd = innerHeight + scrollY >= document.documentElement.scrollHeight - 2;
  const passed = headings.filter((heading) => heading.getBoundingClientRect().top < innerHeight / 3);
  const now = (atEnd ? headings : passed).at(-1) ?? headings[0];
  for (const [id, link] of links) {
    const isHere = id === now?.id;
    if (isHere === link.hasAttribute("aria-current")) continue;
    link.toggleAttribute("aria-current", isHere);
    if (!isHere) continue;
    link.setAttribute("aria-current", "location");
    const bar = link.parentElement;
    bar.scrollLeft = link.offsetLeft - (bar.clientWidth - link.offsetWidth) / 2;
  }
}

addEventListener("scroll", mark, { passive: true });
addEventListener("resize", mark, { passive: true });
mark();

// On paper nothing is folded away.
addEventListener("beforeprint", () => {
  for (const each of document.querySelectorAll("details")) each.open = true;
});

// --- tables ---
// What a cell is sorted by: its figure, or its words.
function value(cell) {
  const text = cell.textContent.trim();
  if (cell.dataset.value !== undefined) return cell.dataset.value;
  if (cell.classList.contains("size")) return String(parseFloat(text) * (/^[\d.]+kB/.test(text) ? 1 : 1000));
  if (cell.classList.contains("text")) return text;
  const figure = parseFloat(text.replace("\u2212", "-"));
  return Number.isNaN(figure) ? "" : String(figure);
}

const shown = (table) => [...table.tBodies[0].rows].filter((row) => !row.hidden);

const isText = (cell) => cell.classList.contains("text") && !cell.classList.contains("interval");

function copied(cell) {
  const text = (cell.dataset.copy ?? cell.textContent).trim().replace(/\s+/g, " ");
  // A spreadsheet reads only the keyboard's minus as one.
  return isText(cell) ? text : text.replace(/\u2212/g, "-");
}

// A spreadsheet would run such text as a formula; CSV has the same apostrophe.
const inert = (cell) => (isText(cell) && /^[=+\-@]/.test(copied(cell)) ? "'" : "") + copied(cell);

function compare(one, other) {
  // What is not there comes last, whichever way the rest is sorted.
  if (one === "" || other === "") return one === other ? 0 : null;
  const difference = Number(one) - Number(other);
  return Number.isNaN(difference) ? one.localeCompare(other, undefined, { numeric: true }) : difference;
}

function sortable(table) {
  const original = [...table.tBodies[0].rows];
  const columns = [...table.tHead.rows[0].cells];
  columns.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      // Figures are looked at from the largest down; the third time brings back the order of the path.
      const first = heading.classList.contains("text") ? "ascending" : "descending";
      const second = first === "ascending" ? "descending" : "ascending";
      const now = heading.getAttribute("aria-sort");
      const next = now === null ? first : now === first ? second : null;
      columns.forEach((each) => each.removeAttribute("aria-sort"));
      const rows = [...original];
      if (next) {
        heading.setAttribute("aria-sort", next);
        const sign = next === "ascending" ? 1 : -1;
        rows.sort((one, other) => {
          const [left, right] = [value(one.cells[column]), value(other.cells[column])];
          return sign * compare(left, right) || (left === "" ? 1 : 0) - (right === "" ? 1 : 0);
        });
      }
      table.tBodies[0].append(...rows);
    });
  });
}

function lines(table, format) {
  const text = format === "TSV" ? inert : copied;
  const rows = [table.tHead.rows[0], ...shown(table)].map((row) => [...row.cells].map(text));
  if (format === "TSV") return rows.map((row) => row.join("\t")).join("\n") + "\n";
  const escaped = rows.map((row) => "| " + row.map((text) => text.replace(/[\\|<>`*_[\]]/g, "\\$&")).join(" | ") + " |");
  const marks = [...table.tHead.rows[0].cells].map((cell) => (cell.classList.contains("text") ? ":--" : "--:"));
  return [escaped[0], "|" + marks.join("|") + "|", ...escaped.slice(1)].join("\n") + "\n";
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Not every browser lets a file use the clipboard that way.
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
  return true;
}

for (const table of document.querySelectorAll("table")) {
  const tools = document.createElement("div");
  tools.className = "tools";
  const said = document.createElement("span");
  said.className = "said";
  said.setAttribute("role", "status");
  sortable(table);
  // The long ones are filtered, too.
  if (table.classList.contains("sortable")) {
    const filter = document.createElement("input");
    filter.type = "search";
    filter.placeholder = "Filter rows by words";
    filter.setAttribute("aria-label", "Filter rows by words");
    filter.addEventListener("input", () => {
      const words = filter.value.toLowerCase().split(/\s+/);
      for (const row of table.tBodies[0].rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
      }
      said.textContent = filter.value ? `${shown(table).length} of ${table.tBodies[0].rows.length} rows` : "";
    });
    tools.append(filter);
  }
  for (const format of ["TSV", "Markdown"]) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = `Copy ${format}`;
    const caption = table.caption?.textContent.trim();
    if (caption) button.setAttribute("aria-label", `Copy ${format}: ${caption}`);
    button.addEventListener("click", async () => {
      const done = await copy(lines(table, format));
      said.textContent = done ? `${shown(table).length} rows copied` : "this browser did not let us copy";
      button.focus();
    });
    tools.append(button);
  }
  tools.append(said);
  const hint = document.createElement("p");
  hint.className = "hint";
  hint.textContent = "Scroll the table sideways for more columns \u2192";
  table.closest(".scroll").before(hint);
  const region = table.closest(".scroll");
  new ResizeObserver(() => hint.classList.toggle("shown", region.scrollWidth > region.clientWidth + 1)).observe(region);
  const scroll = table.closest(".scroll");
  // Above a long table, below a short one.
  if (table.classList.contains("sortable")) scroll.before(tools);
  else scroll.append(tools);
}
