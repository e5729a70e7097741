// Several models: what every policy makes of a mean cost, and who translates how much.
function poolSection() {
  const rows = rowsOf("pool");
  if (!rows) return null;
  const shares = rowsOf("pool_shares") ?? [];
  const curves = rows.filter((row) => row.policy !== "single");
  const budgets = distinct(curves, "budget").sort((a, b) => a - b);
  const state = { direction: AVERAGE, budget: data.budgets[0] };
  const names = {
    single: (name) => `${name} alone`,
    coherent: (name) => `${name}, coherent documents`,
    pair: (name) => `${name}, best pair`,
    cascade: () => "cascade",
  };
  const label = (row) => names[row.policy]?.(row.name) ?? row.name;
  const plain = { colour: "#555555", dashes: [], marker: "", width: 1 };
  const unit = rows[0].unit;
  const picture = chart({
    label: "Mean quality against mean cost of a request, a line per policy. The list has the values.",
    x: { label: `mean cost of a request (${unit})`, write: (v) => number(v, 4) },
    y: { label: `mean quality (${data.settings.metric}, points)`, write: (v) => number(v, 2) },
    by: "point",
    legend: true,
  });
  const slider = h("input", {
    type: "range",
    min: 0,
    max: budgets.length - 1,
    step: 1,
    id: "pool-budget",
    "aria-label": "budget, from the cheapest model's cost to the dearest one's",
    input: () => choose(budgets[slider.valueAsNumber]),
  });
  const readout = h("p", { class: "readout", role: "status" });
  const list = grid(
    [
      { label: "Policy", value: label, cell: label },
      numeric("cost", "Cost", { low: "cost_low", high: "cost_high", digits: 4 }),
      numeric("quality", "Quality", { low: "quality_low", high: "quality_high" }),
      numeric("to_mixture", "Less the mixture", { low: "to_mixture_low", high: "to_mixture_high" }),
      numeric("to_pair", "Less the best pair", { low: "to_pair_low", high: "to_pair_high" }),
      { label: "Who translates", cell: (row) => row.shared },
    ],
    { by: "Quality", down: true },
    "Policies at the chosen budget",
  );

  function shared({ policy, name }) {
    const own = where(shares, { policy, name, ...state }).filter((row) => row.share > 0.0005);
    return own.map((row) => `${row.model} ${percent(row.share, 1)}`).join(", ") || MISSING;
  }

  function drawChart() {
    const here = where(curves, { direction: state.direction });
    const key = (row) => `${row.policy}: ${row.name}`;
    const series = [...new Set(here.map(key))].map((name) => {
      const own = here.filter((row) => key(row) === name && row.quality !== null);
      const look = data.looks[own[0]?.name] ?? plain;
      const dashes = { pair: [1, 2], coherent: [6, 3], cascade: [8, 2, 2, 2] }[own[0]?.policy];
      return {
        name,
        label: own[0] ? label(own[0]) : name,
        look: { ...look, dashes: dashes ?? look.dashes },
        neutral: own[0]?.role === "oracle" || own[0]?.policy === "mixture",
        points: own.map((row) => ({
          x: row.cost,
          y: row.quality,
          note: `budget ${percent(row.budget)}`,
        })),
      };
    });
    picture.show(series.filter((line) => line.points.length));
  }

  function choose(budget) {
    state.budget = budget;
    slider.value = budgets.findIndex((one) => same(one, budget));
    readout.textContent =
      `Budget ${percent(budget)} of the way from the cheapest model's mean cost to the dearest ` +
      "one's. Models alone have a cost of their own.";
    const here = where(rows, { direction: state.direction });
    list.show(
      here
        .filter((row) => row.policy === "single" || same(row.budget, budget))
        .map((row) => ({ ...row, shared: row.policy === "single" ? row.name : shared(row) })),
    );
  }

  const element = section(
    "pool",
    "Among several models",
    "Every request goes to the model whose predicted quality, less its cost at the going rate, is " +
      "highest, so that the mean cost is the budget. The static mixture takes models by chance: what " +
      "is not above it is worth no router.",
    ["pool", "pool_shares", "pool_choice"],
    h(
      "div",
      { class: "controls" },
      choice("Direction", orderedDirections(rows), state.direction, (direction) => {
        state.direction = direction;
        drawChart();
        choose(state.budget);
      }),
      h(
        "label",
        { class: "choice", for: "pool-budget" },
        h("span", {}, "Budget"),
        h("span", {}, slider),
      ),
    ),
    picture.element,
    readout,
    list.element,
    poolChoice(),
  );
  return [
    element,
    () => {
      drawChart();
      choose(state.budget);
    },
  ];
}

/** The best subsets of models, chosen on one half of the documents and judged on the other. */
function poolChoice() {
  const rows = rowsOf("pool_choice");
  if (!rows) return null;
  const table = grid(
    [
      { label: "Router", value: (row) => row.name, cell: (row) => row.name },
      numeric("budget", "Budget"),
      numeric("size", "Models", { digits: 0 }),
      { label: "Best subset", cell: (row) => row.models + (row.same ? "" : " (not of both halves)") },
      numeric("chosen_at", "Quality where chosen"),
      numeric("quality", "Quality elsewhere", { low: "quality_low", high: "quality_high" }),
      numeric("to_smaller", "Less a size smaller", {
        low: "to_smaller_low",
        high: "to_smaller_high",
      }),
    ],
    { by: "Router", down: false },
    "Which models are worth it",
  );
  table.show(rows);
  return table.element;
}
