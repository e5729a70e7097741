// Quality against the share of requests that the large model gets, router by router.

/** The section of the Pareto curves: chart, and a list that is its legend and its readout. */
function paretoSection() {
  const rows = rowsOf("pareto");
  const names = distinct(rows, "router");
  const state = {
    direction: distinct(rows, "direction").includes(AVERAGE) ? AVERAGE : rows[0].direction,
    p: data.budgets[0],
    shown: new Set(data.first),
    lit: bestRouter(),
  };
  const few = data.first.length < names.length;
  const picture = chart({
    label:
      "Mean quality against the share of requests sent to the large model. The list " +
      "below has the values.",
    x: {
      label: "share of requests sent to the large model, p",
      name: "p",
      write: (p) => percent(p),
      tick: (p) => percent(p),
      low: 0,
      high: 1,
    },
    y: { label: `mean quality (${data.settings.metric}, points)`, write: (q) => number(q, 2) },
    by: "x",
    pick: (p) => choose(p),
  });
  const slider = h("input", {
    type: "range",
    min: 0,
    max: 100,
    step: 1,
    id: "p-slider",
    "aria-label": "p in percent",
    input: () => choose(slider.valueAsNumber / 100),
  });
  const typed = h("input", {
    type: "number",
    min: 0,
    max: 100,
    step: 0.1,
    id: "p-number",
    "aria-label": "p in percent, typed",
    change: () => choose((typed.valueAsNumber || 0) / 100),
  });
  const readout = h("p", { class: "readout", role: "status" });
  const boxes = new Map(names.map((name) => [name, box(name)]));
  const list = grid(
    [
      { label: "Shown", cell: (row) => boxes.get(row.router) },
      routerColumn(),
      numeric("quality", "Mean quality at p", { low: "low", high: "high" }),
    ],
    { by: "Mean quality at p", down: true },
    "Routers at the chosen p",
  );

  function box(name) {
    const input = h("input", {
      type: "checkbox",
      checked: state.shown.has(name),
      "data-router": name,
      "aria-label": `show ${routerLabel(name)}`,
      change: () => {
        state.shown[input.checked ? "add" : "delete"](name);
        drawChart();
      },
      focus: () => light(name),
    });
    return input;
  }

  function only(wanted) {
    state.shown = new Set(names.filter(wanted));
    for (const [name, input] of boxes) input.checked = state.shown.has(name);
    drawChart();
  }

  function light(name) {
    if (state.lit === name) return;
    state.lit = name;
    drawChart();
  }

  function choose(p) {
    state.p = Math.max(0, Math.min(1, p));
    drawList();
    drawChart();
  }

  function curve(name) {
    return where(rows, { direction: state.direction, router: name }).sort(
      (a, b) => a.call_rate - b.call_rate,
    );
  }

  function drawChart() {
    const series = names
      .filter((name) => state.shown.has(name))
      .map((name) => ({
        name,
        label: routerLabel(name),
        look: data.looks[name],
        neutral: data.roles[name] !== "router",
        band: name === state.lit,
        points: curve(name).map((row) => ({
          x: row.call_rate,
          y: row.quality,
          low: row.low,
          high: row.high,
        })),
      }));
    picture.show(series, { rule: state.p });
  }

  function drawList() {
    slider.value = 100 * state.p;
    typed.value = Number((100 * state.p).toFixed(1));
    const at = names.map((name) =>
      curve(name)
        .filter((row) => row.call_rate <= state.p + 1e-9)
        .at(-1),
    );
    const rates = [...new Set(at.map((row) => row.call_rate))];
    const written = rates.map((p) => percent(p, same(p, state.p) ? undefined : 2));
    readout.textContent = `In the list: the table's values at p = ${written.join(", ")}.`;
    list.show(at);
  }

  const element = section(
    "pareto",
    "Quality at every budget",
    "Each curve is one router: how good the translations are on average if the share " +
      "p of the requests that it ranks highest goes to the large model. Higher is " +
      "better; the dashed grey curves know the outcome and only mark the limit. Point " +
      "at the chart to read it, click to choose p.",
    ["pareto"],
    h(
      "div",
      { class: "controls" },
      choice("Direction", orderedDirections(rows), state.direction, (direction) => {
        state.direction = direction;
        drawList();
        drawChart();
      }),
      h(
        "label",
        { class: "choice", for: "p-number" },
        h("span", {}, "Budget p"),
        h("span", {}, slider, typed, " %"),
      ),
      h(
        "span",
        { class: "buttons" },
        few
          ? h(
              "button",
              { type: "button", click: () => only((name) => data.first.includes(name)) },
              "As at first",
            )
          : null,
        h("button", { type: "button", click: () => only(() => true) }, "All routers"),
        h(
          "button",
          { type: "button", click: () => only((name) => data.roles[name] !== "oracle") },
          "Deployable only",
        ),
        h("button", { type: "button", click: () => only(() => false) }, "None"),
      ),
    ),
    h("div", { class: "beside" }, h("div", {}, picture.element, readout), list.element),
    few ? h("p", { class: "note" }, firstNote(names)) : null,
    h("p", { class: "note" }, thinningNote()),
  );
  list.element.addEventListener("pointerover", (event) => {
    const name = event.target.closest("tr")?.querySelector("[data-router]")?.dataset.router;
    if (name) light(name);
  });
  return [element, () => choose(state.p)];
}

function orderedDirections(rows) {
  return distinct(rows, "direction")
    .sort((a, b) => (b === AVERAGE) - (a === AVERAGE))
    .map((direction) => [direction, directionLabel(direction)]);
}

function thinningNote() {
  const { rows, of } = data.tables.pareto;
  const band =
    `The band is the ${percent(data.level)} interval of the router that is pointed at ` +
    "in the list.";
  return rows === of
    ? band
    : `${band} The table has ${count(of)} points; ${count(rows)} of them are drawn, at most ${data.points} ` +
        "a curve, with the ends and the experiment's budgets among them.";
}

/** Which routers are drawn where there are too many to tell their lines apart. */
function firstNote(names) {
  const named = data.first.every((name) => data.settings.curves?.includes(name));
  const which = named
    ? "those that the printed figures draw as curves"
    : "oracles and random, those that the RouteLMT paper compares, and the best that can be deployed";
  return (
    `At first ${data.first.length} of ${names.length} routers are drawn, here and in the charts ` +
    `below: ${which}. They have the brightest colours, which may differ from the printed ` +
    "figures. Tick others in the list."
  );
}

/** 'Routers drawn at first' where a table has these alone. */
function ofRouters(rows, otherwise) {
  const shown = new Set(data.first);
  const few = data.first.length < Object.keys(data.roles).length;
  return few && rows.every((row) => shown.has(row.router)) ? "Routers drawn at first" : otherwise;
}

/** The deployable router with the largest MeanΔ on average at the first budget. */
function bestRouter() {
  const own = where(rowsOf("routers"), {
    direction: AVERAGE,
    metric: "mean_delta",
    role: "router",
    budget: data.budgets[0],
  });
  return (
    own.filter((row) => row.value !== null).sort((a, b) => b.value - a.value)[0]?.router ?? null
  );
}
