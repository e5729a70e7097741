// Elements. Text from the data only ever becomes text nodes, never markup.
const SVG = "http://www.w3.org/2000/svg";

/** An HTML element: functions are listeners, true is an attribute without value. */
function h(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** An SVG element. */
function s(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined)
      element.setAttribute(name, value);
  }
  element.append(
    ...children.flat(Infinity).filter((child) => child !== null && child !== undefined),
  );
  return element;
}

/** A labelled list to choose from, or its one value where there is no choice: [value, label]. */
function choice(label, options, value, onchange) {
  const few = options.length < 2;
  const select = h("select", {
    hidden: few,
    change: () => onchange(options[select.selectedIndex][0]),
  });
  select.append(
    ...options.map(([own, text]) => h("option", { selected: same(own, value) }, String(text))),
  );
  const only = few ? options.map(([, text]) => h("b", {}, unbroken(String(text)))) : [];
  const attributes = { class: "choice", hidden: !options.length };
  return h("label", attributes, h("span", {}, label), only, select);
}

/**
 * Choices of the values that rows have in some columns; `onchange` gets {column: value}. What a
 * column offers depends on the choices before it: a metric without budgets has none to choose.
 */
function choices(rows, columns, start, onchange) {
  const chosen = { ...start };
  const element = h("div", { class: "controls" });
  function offer() {
    let left = rows;
    const parts = columns.map(([key, label, text]) => {
      const options = distinct(left, key).map((value) => [value, text ? text(value) : value]);
      if (key === "direction") options.sort((a, b) => (b[0] === AVERAGE) - (a[0] === AVERAGE));
      if (!options.some(([value]) => same(value, chosen[key])))
        chosen[key] = options[0]?.[0] ?? null;
      left = where(left, { [key]: chosen[key] });
      return choice(label, options, chosen[key], (value) => {
        chosen[key] = value;
        offer();
        [...element.children]
          .find((own) => own.dataset.key === key)
          ?.querySelector("select")
          ?.focus();
        onchange(chosen);
      });
    });
    parts.forEach((part, at) => (part.dataset.key = columns[at][0]));
    element.replaceChildren(...parts);
  }
  for (const key of Object.keys(chosen))
    if (!columns.some(([own]) => own === key)) delete chosen[key];
  offer();
  return { element, chosen };
}

const DIRECTION = ["direction", "Direction", directionLabel];
const BUDGET = ["budget", "Budget p", (p) => (p === null ? "none" : percent(p))];
const ROUTER = ["router", "Router", (router) => (router === null ? "none" : routerLabel(router))];
const RANKING = ["router", "Ranked by", ROUTER[2]];

/** The line, dashes and marker of a router. */
function swatch(look, neutral) {
  const picture = s("svg", { class: "swatch", width: 34, height: 12, "aria-hidden": "true" });
  picture.append(
    coloured(s("path", { d: "M1 6H33", ...strokeOf(look), class: "line" }), look, neutral),
  );
  if (look.marker)
    picture.append(
      coloured(s("path", { d: marker(look.marker, 17, 6, 4.5), class: "mark" }), look, neutral),
    );
  return picture;
}

function coloured(element, look, neutral = false) {
  element.style.setProperty("--colour", look.colour);
  if (neutral) element.classList.add("neutral");
  return element;
}

function strokeOf(look) {
  const width = 1.4 * look.width;
  return {
    fill: "none",
    "stroke-width": width,
    "stroke-dasharray": look.dashes.length ? look.dashes.map((d) => d * width).join(" ") : null,
  };
}

/** Path of a marker, by the letters of the printed figures. */
function marker(kind, x, y, r) {
  const polygon = (n, turn, radius = () => r) =>
    "M" +
    Array.from({ length: n }, (_, i) => {
      const angle = (2 * Math.PI * i) / n + turn;
      return `${x + radius(i) * Math.sin(angle)} ${y - radius(i) * Math.cos(angle)}`;
    }).join("L") +
    "Z";
  const quarter = Math.PI / 2;
  const t = r / 3;
  const [wide, arm] = [2 * t, r - t];
  const plus =
    `M${x - t} ${y - r}h${wide}v${arm}h${arm}v${wide}h${-arm}v${arm}` +
    `h${-wide}v${-arm}h${-arm}v${-wide}h${arm}Z`;
  const shapes = {
    o: () => `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0Z`,
    s: () => polygon(4, quarter / 2),
    "^": () => polygon(3, 0),
    v: () => polygon(3, 2 * quarter),
    "<": () => polygon(3, -quarter),
    ">": () => polygon(3, quarter),
    D: () => polygon(4, 0),
    P: () => plus,
    X: () => polygon(8, quarter / 2, (i) => (i % 2 ? r / 3 : r)),
    "*": () => polygon(10, 0, (i) => (i % 2 ? r / 2.4 : r * 1.15)),
    p: () => polygon(5, 0),
    h: () => polygon(6, 0),
    "|": () => `M${x - 1} ${y - r}h2v${2 * r}h-2Z`,
  };
  return (shapes[kind] ?? shapes.o)();
}

/** A part of the page: heading, what it says, content, and the tables of its numbers. */
function section(id, title, lead, names, ...content) {
  return h(
    "section",
    { id, "aria-labelledby": `${id}-title` },
    h("h2", { id: `${id}-title` }, title),
    lead ? h("p", { class: "lead" }, lead) : null,
    ...content,
    origin(names),
  );
}

// Tables that no metric has a part in.
const ABOUT_DATA = new Set(["datasheet", "contamination", "training", "flags"]);

/** Which files the numbers are from, each a link to its provenance. */
function origin(names) {
  const shown = names.filter((name) => data.provenance.tables[name]);
  if (!shown.length) return null;
  const links = shown.map((name, at) => [
    at ? ", " : "",
    h("a", { href: `#table-${name}` }, data.provenance.tables[name].path),
  ]);
  const by = shown.some((name) => !ABOUT_DATA.has(name)) ? ` (by ${data.settings.metric})` : "";
  return h("p", { class: "origin" }, "Numbers from ", ...links.flat(), `${by}.`);
}
