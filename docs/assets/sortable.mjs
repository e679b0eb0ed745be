// Sortable tables: each header becomes a button that sorts the rows by the values of its column, empty ones last.
for (const table of document.querySelectorAll("table.sortable")) {
  const headers = [...table.tHead.rows[0].cells];
  for (const header of headers) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    button.addEventListener("click", () => sort(table, headers, header));
    header.append(button);
  }
  table.classList.add("sortable--live");
}

function sort(table, headers, header) {
  const direction = header.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
  headers.forEach((other) => other.removeAttribute("aria-sort"));
  header.setAttribute("aria-sort", direction);
  const sign = direction === "ascending" ? 1 : -1;
  const value = (row) => row.cells[headers.indexOf(header)].dataset.value;
  const rows = [...table.tBodies[0].rows].sort((a, b) => {
    const [first, second] = [value(a), value(b)];
    if (!first || !second) return !first - !second;
    const difference = first - second; // NaN for text
    return sign * (Number.isNaN(difference) ? first.localeCompare(second, "en") : difference);
  });
  table.tBodies[0].append(...rows);
}
