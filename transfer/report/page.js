// Sorts a table by the column whose heading is pressed: figures as figures, empty cells last.
"use strict";

function figureOf(text) {
  const found = text.replace("−", "-").match(/^[+-]?\d+(\.\d+)?/);
  return found ? Number(found[0]) : NaN;
}

function compare(left, right) {
  const a = figureOf(left), b = figureOf(right);
  const emptyA = left.startsWith("–") || left === "", emptyB = right.startsWith("–") || right === "";
  if (emptyA || emptyB) return { order: emptyA - emptyB, fixed: true };
  if (!Number.isNaN(a) && !Number.isNaN(b)) return { order: a - b, fixed: false };
  if (Number.isNaN(a) !== Number.isNaN(b)) {
    return { order: Number.isNaN(a) - Number.isNaN(b), fixed: true };
  }
  return { order: left.localeCompare(right), fixed: false };
}

function sort(table, column, descending) {
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => ({ row, text: row.cells[column].textContent.trim() }));
  rows.sort((left, right) => {
    const { order, fixed } = compare(left.text, right.text);
    return descending && !fixed ? -order : order;
  });
  body.append(...rows.map(({ row }) => row));
}

document.documentElement.classList.add("sorts");
for (const table of document.querySelectorAll("table")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const descending = head.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      sort(table, column, descending);
    });
  });
}
