// A chart of lines and points: hover or the arrow keys read the values off.
const MARGIN = { top: 12, right: 26, bottom: 44, left: 56 };
const MARKERS = 7; // of a long line
const MOST_ENDS = 4; // lines beside which the intervals still fit
const MOST_READ = 14; // lines that are read off at one place

/**
 * A chart. options: label (for those who do not see it), x and y {label, write, tick?, name?, low?,
 * high?}, by ("x": all lines at one place, "point": the nearest), legend (whether to name the
 * lines), height, pick (called with the x of a click), routers (whether lines are routers: of many,
 * those of data.first are drawn until all are asked for).
 *
 * show(series, extra): series {name, label?, look, neutral, points [{x, y, low, high, note}], band
 * or ends (how intervals are drawn)}; extra {rule: an x, level: a y, diagonal, band: points}.
 */
function chart(options) {
  const picture = s("svg", { tabindex: 0, role: "img", "aria-label": options.label });
  const tip = h("div", { class: "tip", role: "status", hidden: true });
  const legend = h("p", { class: "legend", hidden: !options.legend });
  const which = h("div", { class: "controls" });
  const element = h("div", { class: "chart" }, which, legend, picture, tip);
  let series = [];
  let every = []; // of which only some may be drawn
  let all = false;
  let extra = {};
  let frame = null;
  let focus = null; // index of the place, or of the point, that is read off

  function draw() {
    const width = Math.max(280, element.clientWidth || 900);
    const height = options.height ?? Math.round(Math.min(460, Math.max(280, width * 0.58)));
    const x = scale(values("x"), options.x, MARGIN.left, width - MARGIN.right);
    const y = scale(values("y"), options.y, height - MARGIN.bottom, MARGIN.top);
    frame = { width, height, x, y };
    picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const cursor = s("g", { class: "cursor" });
    picture.replaceChildren(axes(frame, options), ...marks(), cursor);
    frame.cursor = cursor;
    if (focus !== null) point(focus);
  }

  /** Draw all lines or some, and offer the choice where it is one. */
  function choose() {
    const some = every.filter((line) => data.first.includes(line.name));
    const few = options.routers && some.length && some.length < every.length;
    series = few && !all ? some : every;
    const offered = [
      [false, `${some.length} of ${every.length} routers`],
      [true, "all routers"],
    ];
    const change = (value) => {
      all = value;
      hide();
      choose();
      which.querySelector("select").focus();
    };
    which.replaceChildren(...(few ? [choice("Lines", offered, all, change)] : []));
    which.hidden = !few;
    if (options.legend) legend.replaceChildren(...series.map(entry), bandEntry());
    draw();
  }

  function entry(line) {
    return h("span", {}, swatch(line.look, line.neutral), line.label ?? line.name);
  }

  function bandEntry() {
    return extra.band ? h("span", {}, "grey: where the rate stays without drift") : "";
  }

  function values(axis) {
    const ends = axis === "y" ? ["low", "high"] : [];
    const found = series.flatMap((line) =>
      line.points.flatMap((p) => [
        p[axis],
        ...(line.band || line.ends ? ends.map((e) => p[e]) : []),
      ]),
    );
    if (axis === "y" && extra.band) found.push(...extra.band.flatMap((p) => [p.low, p.high]));
    if (axis === "y" && extra.level !== undefined) found.push(extra.level);
    return found.filter((value) => value !== null && value !== undefined);
  }

  function marks() {
    const found = [];
    if (extra.band) found.push(s("path", { class: "band", d: area(extra.band) }));
    if (extra.level !== undefined)
      found.push(
        s("path", { class: "level", d: `M${frame.x.from} ${frame.y(extra.level)}H${frame.x.to}` }),
      );
    if (extra.diagonal) found.push(s("path", { class: "level", d: diagonal() }));
    if (extra.rule !== undefined)
      found.push(
        s("path", { class: "rule", d: `M${frame.x(extra.rule)} ${frame.y.to}V${frame.y.from}` }),
      );
    for (const line of series) {
      if (line.band)
        found.push(
          coloured(s("path", { class: "own band", d: area(line.points) }), line.look, line.neutral),
        );
      const group = s("g", { "data-series": line.name, class: "series" });
      group.append(s("title", {}, line.name));
      group.append(
        coloured(
          s("path", { class: "line", d: path(line.points), ...strokeOf(line.look) }),
          line.look,
          line.neutral,
        ),
      );
      if (line.ends)
        for (const p of line.points.filter((q) => q.low !== null && q.low !== undefined))
          group.append(
            coloured(
              s("path", {
                class: "line",
                d: `M${frame.x(p.x)} ${frame.y(p.low)}V${frame.y(p.high)}`,
                "stroke-width": 1,
              }),
              line.look,
              line.neutral,
            ),
          );
      if (line.look.marker)
        for (const p of marked(line))
          group.append(
            coloured(
              s("path", {
                class: "mark",
                d: marker(line.look.marker, frame.x(p.x), frame.y(p.y), 4),
              }),
              line.look,
              line.neutral,
            ),
          );
      found.push(group);
    }
    return found;
  }

  function marked(line) {
    if (line.ends || line.points.length <= MARKERS + 5) return line.points;
    const step = (line.points.length - 1) / MARKERS;
    return Array.from({ length: MARKERS }, (_, i) => line.points[Math.round((i + 0.5) * step)]);
  }

  function path(points) {
    return points
      .filter((p) => p.y !== null)
      .map((p, i) => `${i ? "L" : "M"}${frame.x(p.x).toFixed(1)} ${frame.y(p.y).toFixed(1)}`)
      .join("");
  }

  function area(points) {
    const there = points.filter((p) => p.low !== null && p.low !== undefined);
    if (!there.length) return "";
    const upper = there.map((p) => `${frame.x(p.x).toFixed(1)} ${frame.y(p.high).toFixed(1)}`);
    const lower = there.map((p) => `${frame.x(p.x).toFixed(1)} ${frame.y(p.low).toFixed(1)}`);
    return `M${[...upper, ...lower.reverse()].join("L")}Z`;
  }

  function diagonal() {
    const low = Math.max(frame.x.low, frame.y.low);
    const high = Math.min(frame.x.high, frame.y.high);
    return low < high ? `M${frame.x(low)} ${frame.y(low)}L${frame.x(high)} ${frame.y(high)}` : "";
  }

  // --- reading off ---------------------------------------------------------------------------

  function places() {
    if (options.by === "point")
      return series.flatMap((line) => line.points.map((p) => ({ line, p })));
    return [...new Set(series.flatMap((line) => line.points.map((p) => p.x)))].sort(
      (a, b) => a - b,
    );
  }

  function nearest(event) {
    const box = picture.getBoundingClientRect();
    const ratio = frame.width / box.width;
    const [px, py] = [(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio];
    const far = places().map((place) =>
      options.by === "point"
        ? Math.hypot(frame.x(place.p.x) - px, frame.y(place.p.y) - py)
        : Math.abs(frame.x(place) - px),
    );
    return far.length ? far.indexOf(Math.min(...far)) : null;
  }

  function point(index) {
    const all = places();
    if (!all.length) return hide();
    focus = Math.max(0, Math.min(index, all.length - 1));
    const place = all[focus];
    if (options.by === "point") readPoint(place);
    else readPlace(place);
    return undefined;
  }

  function readPlace(x) {
    const lines = series
      .map((line) => [line, line.points.find((p) => p.x === x) ?? before(line.points, x)])
      .filter(([, p]) => p && p.y !== null)
      .sort((a, b) => b[1].y - a[1].y);
    frame.cursor.replaceChildren(
      s("path", { d: `M${frame.x(x)} ${frame.y.to}V${frame.y.from}` }),
      ...lines.map(([, p]) => s("circle", { cx: frame.x(p.x), cy: frame.y(p.y), r: 3 })),
    );
    say(frame.x(x), `${options.x.name ?? options.x.label}: ${options.x.write(x)}`, lines);
  }

  function before(points, x) {
    return points.filter((p) => p.x <= x).at(-1);
  }

  function readPoint({ line, p }) {
    frame.cursor.replaceChildren(s("circle", { cx: frame.x(p.x), cy: frame.y(p.y), r: 7 }));
    say(frame.x(p.x), p.note ?? "", [[line, p]], `${options.x.label}: ${options.x.write(p.x)}`);
  }

  function say(x, head, lines, foot) {
    const ends = (p) => p.low !== null && p.low !== undefined && lines.length <= MOST_ENDS;
    const rest = lines.length - MOST_READ;
    tip.replaceChildren(
      h("strong", {}, head),
      h(
        "table",
        {},
        lines.slice(0, MOST_READ).map(([line, p]) =>
          h(
            "tr",
            {},
            h("td", {}, swatch(line.look, line.neutral)),
            h("td", {}, line.label ?? line.name),
            h("td", { class: "number" }, options.y.write(p.y)),
            h(
              "td",
              { class: "ends" },
              ends(p) ? `[${options.y.write(p.low)}, ${options.y.write(p.high)}]` : "",
            ),
          ),
        ),
      ),
      rest > 0 ? h("div", {}, `and ${rest} below`) : "",
      foot ? h("div", {}, foot) : "",
    );
    tip.hidden = false;
    const shown = picture.getBoundingClientRect().width / frame.width;
    const room = element.clientWidth - tip.offsetWidth - 4;
    const right = x * shown + 14;
    const left = right > room ? x * shown - tip.offsetWidth - 14 : right;
    tip.style.left = `${Math.max(0, Math.min(left, room))}px`;
  }

  function hide() {
    focus = null;
    tip.hidden = true;
    frame?.cursor.replaceChildren();
  }

  picture.addEventListener("pointermove", (event) => point(nearest(event)));
  picture.addEventListener("pointerleave", hide);
  picture.addEventListener("blur", hide);
  picture.addEventListener("click", (event) => {
    const at = nearest(event);
    if (options.pick && at !== null) options.pick(places()[at]);
  });
  picture.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageDown: -10, PageUp: 10, Home: -1e9, End: 1e9 };
    if (event.key === "Escape") hide();
    if (event.key === "Enter" && options.pick && focus !== null) options.pick(places()[focus]);
    if (!(event.key in steps)) return;
    event.preventDefault();
    point((focus ?? 0) + steps[event.key]);
  });
  new ResizeObserver(() => {
    if (frame && Math.abs(frame.width - element.clientWidth) > 1) draw();
  }).observe(element);

  return {
    element,
    show(found, more = {}) {
      every = found;
      extra = more;
      choose();
    },
  };
}

/** A linear scale over the values and the asked-for ends, with round ticks. */
function scale(values, asked, from, to) {
  let low = asked.low ?? Math.min(...values);
  let high = asked.high ?? Math.max(...values);
  if (!Number.isFinite(low) || !Number.isFinite(high)) [low, high] = [0, 1];
  if (high - low < 1e-9) [low, high] = [low - 0.5, high + 0.5];
  const room = 0.04 * (high - low);
  low = asked.low ?? low - room;
  high = asked.high ?? high + room;
  const place = (value) => from + ((value - low) / (high - low)) * (to - from);
  return Object.assign(place, {
    from,
    to,
    low,
    high,
    ticks: ticks(low, high, Math.abs(to - from)),
  });
}

function ticks(low, high, pixels) {
  const rough = (high - low) / Math.max(2, Math.min(8, pixels / 70));
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find((m) => m * power >= rough) ?? 10);
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => (first + i) * step);
}

/** A round number without needless digits. */
function short(value) {
  return String(Number(value.toFixed(6)));
}

function axes({ width, height, x, y }, options) {
  const group = s("g", { class: "axes" });
  for (const tick of y.ticks)
    group.append(
      s("path", { class: "line-grid", d: `M${MARGIN.left} ${y(tick)}H${width - MARGIN.right}` }),
      s(
        "text",
        { x: MARGIN.left - 7, y: y(tick) + 4, "text-anchor": "end" },
        (options.y.tick ?? short)(tick),
      ),
    );
  for (const tick of x.ticks)
    group.append(
      s("path", { class: "tick", d: `M${x(tick)} ${y.from}v5` }),
      s(
        "text",
        { x: x(tick), y: y.from + 18, "text-anchor": "middle" },
        (options.x.tick ?? short)(tick),
      ),
    );
  group.append(
    s("path", { class: "tick", d: `M${MARGIN.left} ${y.from}H${width - MARGIN.right}` }),
    s(
      "text",
      {
        class: "axis",
        x: (MARGIN.left + width - MARGIN.right) / 2,
        y: height - 6,
        "text-anchor": "middle",
      },
      options.x.label,
    ),
    s(
      "text",
      {
        class: "axis",
        "text-anchor": "middle",
        transform: `translate(13 ${(y.from + y.to) / 2}) rotate(-90)`,
      },
      options.y.label,
    ),
  );
  return group;
}
