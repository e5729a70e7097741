// Tables that can be sorted and are shown a page at a time.
const ROWS = 30;

/** A column of numbers. options: digits, scale, low and high (keys of the interval), title. */
function numeric(key, label, options = {}) {
  const { digits = 2, scale = 1, low, high, title } = options;
  const scaled = (value) => (value === null || value === undefined ? null : value * scale);
  return {
    label,
    title,
    numeric: true,
    value: (row) => row[key],
    cell: (row) => {
      const ends = low ? interval(scaled(row[low]), scaled(row[high]), digits) : "";
      return numberCell(scaled(row[key]), ends, digits, row.reason);
    },
  };
}

/** The content of a cell: value, interval below it; the reason where there is no value. */
function numberCell(value, ends, digits, reason) {
  if (value === null || value === undefined)
    return [MISSING, reason ? h("small", { class: "reason" }, `undefined: ${reason}`) : null];
  return [number(value, digits), ends ? h("small", { class: "ends" }, ends) : null];
}

/** A column of p-values: never '0.000'. */
function probability(key, label, title) {
  const written = (p) => (p === null ? MISSING : p < 0.001 ? "< 0.001" : number(p, 3));
  return {
    label,
    title,
    numeric: true,
    value: (row) => row[key],
    cell: (row) => written(row[key]),
  };
}

function whole(key, label, title) {
  return { label, title, numeric: true, value: (row) => row[key], cell: (row) => count(row[key]) };
}

function text(key, label, written = (value) => value ?? MISSING) {
  return {
    label,
    value: (row) => written(row[key]),
    cell: (row) => h("bdi", {}, String(written(row[key]))),
  };
}

/** The router's name with its line and marker, as in the charts. */
function routerColumn(key = "router", label = "Router") {
  return {
    label,
    value: (row) => row[key],
    cell: (row) =>
      h(
        "span",
        { class: "router" },
        data.looks[row[key]]
          ? swatch(data.looks[row[key]], data.roles[row[key]] !== "router")
          : null,
        row[key] === null ? MISSING : routerLabel(row[key]),
      ),
  };
}

/** A table. sort: {by: label of a column, down: whether the largest come first}, or null. */
function grid(columns, sort, caption) {
  let rows = [];
  let limit = ROWS;
  let order = sort && { column: columns.findIndex((c) => c.label === sort.by), down: sort.down };
  const heads = columns.map((column, at) =>
    h(
      "th",
      { scope: "col", class: column.numeric ? "number" : null, title: column.title },
      column.value
        ? h("button", { type: "button", click: () => sortBy(at) }, column.label)
        : column.label,
    ),
  );
  const body = h("tbody");
  const more = h("button", { type: "button", class: "more", hidden: true, click: showAll });
  const table = h(
    "table",
    {},
    caption ? h("caption", {}, caption) : null,
    h("thead", {}, h("tr", {}, heads)),
    body,
  );
  const element = h(
    "div",
    { class: "grid" },
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption }, table),
    more,
  );

  function sortBy(at) {
    order = { column: at, down: order?.column === at ? !order.down : Boolean(columns[at].numeric) };
    draw();
  }

  function showAll() {
    limit = Infinity;
    draw();
  }

  function sorted() {
    if (!order) return rows;
    const { value } = columns[order.column];
    const sign = order.down ? -1 : 1;
    return [...rows].sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      // What is undefined comes last either way.
      if (x === null || x === undefined) return y === null || y === undefined ? 0 : 1;
      if (y === null || y === undefined) return -1;
      return sign * (typeof x === "number" ? x - y : String(x).localeCompare(String(y)));
    });
  }

  function draw() {
    heads.forEach((head, at) => {
      const direction = order?.column === at ? (order.down ? "descending" : "ascending") : "none";
      if (columns[at].value) head.setAttribute("aria-sort", direction);
    });
    const shown = sorted().slice(0, limit);
    body.replaceChildren(
      ...shown.map((row) =>
        h(
          "tr",
          {},
          columns.map((column) =>
            h("td", { class: column.numeric ? "number" : null }, column.cell(row)),
          ),
        ),
      ),
    );
    // One reason a row is enough.
    for (const row of body.rows)
      [...row.querySelectorAll(".reason")].slice(1).forEach((again) => again.remove());
    if (!rows.length)
      body.append(h("tr", {}, h("td", { colspan: columns.length }, "Nothing to show here.")));
    more.hidden = shown.length >= rows.length;
    more.textContent = `Show all ${count(rows.length)} rows`;
  }

  return {
    element,
    show(found) {
      rows = found;
      limit = ROWS;
      draw();
    },
  };
}

/** A table of one of the page's, with a choice for each of the given columns. */
function explorer(rows, filters, columns, { sort, start = {}, caption } = {}) {
  const table = grid(columns, sort, caption);
  const own = choices(rows, filters, start, (chosen) => table.show(where(rows, chosen)));
  table.show(where(rows, own.chosen));
  return h("div", {}, own.element, table.element);
}
