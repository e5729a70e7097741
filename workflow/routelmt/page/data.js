// The tables of the page, and how their numbers are written.
const data = JSON.parse(document.getElementById("data").textContent);
const AVERAGE = "average";
const MISSING = "–";
const decoded = new Map();

/** Rows of a table as objects; null where the experiment has no such table. */
function rowsOf(name) {
  if (!data.tables[name]) return null;
  if (!decoded.has(name)) {
    const { rows, columns } = data.tables[name];
    const names = Object.keys(columns);
    const values = names.map((column) => unpacked(columns[column]));
    decoded.set(
      name,
      Array.from({ length: rows }, (_, at) =>
        Object.fromEntries(names.map((column, c) => [column, values[c][at]])),
      ),
    );
  }
  return decoded.get(name);
}

/** Values that recur are listed once; each row has letters that say which one. */
function unpacked(column) {
  if (Array.isArray(column)) return column;
  const { values, width, at } = column;
  const place = (row) => {
    let found = 0;
    for (let i = 0; i < width; i += 1)
      found = found * data.letters.length + data.letters.indexOf(at[row * width + i]);
    return found;
  };
  return Array.from({ length: at.length / width }, (_, row) => values[place(row)]);
}

/** Rows that have these values; numbers are the same up to rounding. */
function where(rows, equal) {
  const wanted = Object.entries(equal);
  return rows.filter((row) => wanted.every(([key, value]) => same(row[key], value)));
}

function same(a, b) {
  return typeof a === "number" && typeof b === "number" ? Math.abs(a - b) < 1e-9 : a === b;
}

function distinct(rows, key) {
  return [...new Set(rows.map((row) => row[key]))];
}

function number(value, digits) {
  if (value === null || value === undefined) return MISSING;
  const text = value.toFixed(digits);
  return /^-0(\.0*)?$/.test(text) ? text.slice(1) : text;
}

function percent(share, digits) {
  if (share === null || share === undefined) return MISSING;
  const places = digits ?? (Math.abs(100 * share - Math.round(100 * share)) < 1e-7 ? 0 : 1);
  return `${number(100 * share, places)} %`;
}

/** The same with a space that does not break before the sign. */
function unbroken(text) {
  return text.replaceAll(" %", "\u00a0%");
}

function interval(low, high, digits) {
  if (low === null || high === null || low === undefined || high === undefined) return "";
  return `[${number(low, digits)}, ${number(high, digits)}]`;
}

function count(value) {
  return value === null || value === undefined ? MISSING : value.toLocaleString("en-US");
}

/** 'en-zh (English to Chinese)' where the config names the languages. */
function directionLabel(direction) {
  if (direction === AVERAGE) return "average over the directions";
  if (direction === "all") return "all requests together";
  if (direction === "pooled") return "all requests under one budget";
  const names = direction.split("-").map((code) => data.settings.languages[code]);
  return names.every(Boolean) ? `${direction} (${names.join(" to ")})` : direction;
}

function routerLabel(router) {
  const role = data.roles[router];
  if (role === "random") return `${router} (expectation)`;
  return role === "oracle" && !router.includes("oracle") ? `${router} (oracle)` : router;
}
