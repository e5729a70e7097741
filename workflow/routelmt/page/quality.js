// Which router is best: the answer, the table of all, who beats whom, and further metrics.
// A section is [element, start], or null where its table is absent; start, if any, runs once the
// element is on the page.
const METRIC = ["metric", "Metric", (metric) => data.metrics[metric]?.[0] ?? metric];
const ENDS = { low: "low", high: "high" };
const SHARE = { scale: 100, digits: 1 };

const MEANINGS = {
  mean_delta:
    "mean gain, in points of the metric, of the requests that the router sends to the large model",
  hit_rate: "share, in %, of the requests sent that are in some set of the largest gains",
  spearman: "rank correlation of what the router says with the gain",
  headroom:
    "share, in %, of the advantage over a random choice that the gain oracle has, which picks by " +
    "the very noise it is judged by",
  headroom_attainable:
    "the same of what a perfect predictor of the true gain would have, by the reliability of the " +
    "gains, if gains and errors are jointly normal and errors independent",
};

/** Questions and answers at one of the experiment's budgets. */
function answerSection() {
  const cards = h("div", { class: "cards" });
  function show(budget) {
    const found = data.answers[data.budgets.findIndex((own) => same(own, budget))];
    cards.replaceChildren(
      ...found.map(({ question, headline, sentences, tables }) =>
        h(
          "article",
          { class: "card" },
          h("h3", {}, question),
          h("p", { class: "headline" }, unbroken(headline)),
          sentences.map((sentence) => h("p", {}, unbroken(sentence))),
          origin(tables),
        ),
      ),
    );
  }
  show(data.budgets[0]);
  const options = data.budgets.map((budget) => [budget, percent(budget)]);
  const element = section(
    "answer",
    "The answer",
    options.length > 1
      ? `Averages over the directions, by ${data.settings.metric}, at the budget p that is ` +
          "chosen here."
      : `Averages over the directions, by ${data.settings.metric}, when the large model gets ` +
          `p = ${percent(data.budgets[0])} of the requests.`,
    [],
    h("div", { class: "controls" }, choice("Budget p", options, data.budgets[0], show)),
    cards,
  );
  return [element];
}

/** One line per router: all metrics of the main table, with intervals. */
function routersSection() {
  const rows = rowsOf("routers");
  const metric = (key) => {
    const [label, scale, digits] = data.metrics[key];
    return {
      label,
      numeric: true,
      title: MEANINGS[key],
      value: (row) => row[key]?.value ?? null,
      cell: (row) => {
        const own = row[key];
        const scaled = (v) => (v === null ? null : v * scale);
        return numberCell(
          scaled(own.value),
          interval(scaled(own.low), scaled(own.high), digits),
          digits,
          own.reason,
        );
      },
    };
  };
  const columns = [
    routerColumn(),
    metric("mean_delta"),
    { label: "MeanΔ, interval", cell: (row) => whisker(row.mean_delta, row.router, extent) },
    metric("hit_rate"),
    metric("spearman"),
    metric("headroom"),
    ...(where(rows, { metric: "headroom_attainable" }).length
      ? [metric("headroom_attainable")]
      : []),
    whole("seeds", "Seeds", "0: all draws averaged exactly"),
    numeric("spread", "Seed spread", { title: "standard deviation of MeanΔ over the seeds" }),
    whole("requests", "Requests"),
  ];
  const table = grid(columns, { by: "MeanΔ", down: true }, "Routers");
  let extent = [0, 1]; // of the intervals that are shown
  function pivoted(chosen) {
    const here = where(rows, chosen);
    const drawn = where(here, { metric: "mean_delta" }).filter((row) => row.low !== null);
    extent = [Math.min(...drawn.map((row) => row.low)), Math.max(...drawn.map((row) => row.high))];
    return distinct(here, "router").map((router) => {
      const own = Object.fromEntries(where(here, { router }).map((row) => [row.metric, row]));
      const { seeds, requests } = own.mean_delta;
      return { router, ...own, seeds, requests, spread: own.mean_delta.seed_spread };
    });
  }
  const own = choices(rows, [DIRECTION, BUDGET], { direction: AVERAGE }, (chosen) =>
    table.show(pivoted(chosen)),
  );
  table.show(pivoted(own.chosen));
  return [
    section(
      "routers",
      "All routers",
      `By ${data.settings.metric}. In brackets: ${percent(data.level)} intervals from ` +
        `${count(data.replicates)} resamples of the requests. Click a heading to sort.`,
      ["routers"],
      own.element,
      table.element,
      scratchNote(),
    ),
  ];
}

/** Encoders that are no pretrained ones are called so. */
function scratchNote() {
  const names = data.settings.from_scratch ?? [];
  if (!names.length) return null;
  return h(
    "p",
    { class: "note" },
    `Small encoders from scratch, no pretrained ones such as XLM-R: ${names.join(", ")}.`,
  );
}

function whisker(row, router, [low, high]) {
  if (row.value === null || row.low === null) return MISSING;
  const x = (value) => (4 + (112 * (value - low)) / (high - low || 1)).toFixed(1);
  const [look, neutral] = [data.looks[router], data.roles[router] !== "router"];
  const picture = s("svg", { width: 120, height: 14, class: "whisker", "aria-hidden": "true" });
  picture.append(
    coloured(
      s("path", { class: "line", "stroke-width": 2, d: `M${x(row.low)} 7H${x(row.high)}` }),
      look,
      neutral,
    ),
    coloured(s("circle", { class: "mark", r: 3.5, cx: x(row.value), cy: 7 }), look, neutral),
  );
  return picture;
}

function comparisonsSection() {
  const rows = rowsOf("comparisons");
  if (!rows?.length) return null;
  const both = rows.flatMap((row) => [
    row,
    {
      ...row,
      router: row.other,
      other: row.router,
      difference: -row.difference,
      low: -row.high,
      high: -row.low,
    },
  ]);
  const columns = [
    routerColumn("other", "Compared with"),
    numeric("difference", "Difference", ENDS),
    probability("p_value", "p"),
    probability("p_holm", "p (Holm)", "corrected for the number of pairs"),
    { label: "Verdict", value: verdict, cell: verdict },
    numeric("detectable", "Detectable", { title: "smallest difference found with 80 % power" }),
  ];
  return [
    section(
      "comparisons",
      "Who beats whom",
      "Differences between two routers on the same resampled requests; positive " +
        "where the chosen router is better. A difference counts if p stays below 0.05 " +
        "after Holm's correction for all pairs.",
      ["comparisons"],
      explorer(both, [ROUTER, METRIC, DIRECTION, BUDGET], columns, {
        sort: { by: "Difference", down: true },
        start: {
          router: bestRouter(),
          direction: AVERAGE,
          metric: "mean_delta",
          budget: data.budgets[0],
        },
        caption: "Differences",
      }),
    ),
  ];
}

function verdict(row) {
  if (row.p_holm === null) return "undefined";
  if (row.p_holm >= 0.05) return "not distinguishable";
  return row.difference > 0 ? "better" : "worse";
}

/** The value of a row that names its metric, in the metric's own unit and digits. */
function measured() {
  return {
    label: "Value",
    numeric: true,
    value: (row) => row.value,
    cell: (row) => {
      const [, scale, digits] = data.metrics[row.metric] ?? ["", 1, 3];
      const scaled = (own) => (own === null ? null : own * scale);
      return numberCell(
        scaled(row.value),
        interval(scaled(row.low), scaled(row.high), digits),
        digits,
        row.reason,
      );
    },
  };
}

function metricsSection() {
  const parts = [];
  const used = [];
  const ask = (name, title, filters, columns, options) => {
    const rows = rowsOf(name);
    if (!rows?.length) return;
    used.push(name);
    parts.push(
      h("h3", {}, title),
      explorer(rows, filters, columns, { caption: title, ...options }),
    );
  };
  const value = [measured(), whole("requests", "Requests")];
  ask("router_metrics", "Every metric", [METRIC, DIRECTION, BUDGET], [routerColumn(), ...value], {
    start: { direction: AVERAGE, metric: "apgr" },
    sort: { by: "Value", down: true },
  });
  ask(
    "breakdown",
    "Within domains and lengths",
    [ROUTER, ["by", "By"], METRIC, DIRECTION, BUDGET],
    [text("group", "Group"), text("detail", "Words"), ...value],
    {
      start: {
        router: bestRouter(),
        direction: AVERAGE,
        metric: "mean_delta",
        budget: data.budgets[0],
      },
    },
  );
  const { rows: kept, of } = data.tables.breakdown ?? {};
  if (kept < of)
    parts.push(
      h(
        "p",
        { class: "note" },
        `Routers drawn at first: ${count(kept)} of the table's ${count(of)} rows.`,
      ),
    );
  ask(
    "cross_metric",
    "Judged by other metrics",
    [["judge", "Judge"], METRIC, DIRECTION, BUDGET],
    [routerColumn(), value[0]],
    { start: { direction: AVERAGE, metric: "mean_delta" }, sort: { by: "Value", down: true } },
  );
  ask(
    "human",
    "The same order for people?",
    [["judge", "By people"], DIRECTION, BUDGET],
    [
      routerColumn(),
      routerColumn("other", "Compared with"),
      numeric("metric_difference", "By the metric"),
      numeric("expected", "Expected", { title: "in people's points, if they agreed" }),
      numeric("difference", "By people", ENDS),
      probability("p_holm", "p (Holm)"),
      numeric("detectable", "Detectable", { title: "found by people in 80 of 100 test sets" }),
      text("verdict", "The order"),
      whole("requests", "Requests"),
    ],
    { start: { direction: AVERAGE } },
  );
  ask(
    "noise",
    "How much could be noise of the labels",
    [DIRECTION, ["measure", "Measure"]],
    [routerColumn(), text("method", "Method"), text("metrics", "Metrics"), ...value],
    { start: { direction: AVERAGE } },
  );
  if (!parts.length) return null;
  return [section("metrics", "More metrics, domains, other judges", null, used, parts)];
}

/** One line per router: a metric within each named domain, and its difference to the rest. */
function domainsSection() {
  const rows = rowsOf("domains");
  if (!rows?.length) return null;
  const inDomain = (domain) => domain === "in-domain";
  const defined = distinct(
    rows.filter((row) => !inDomain(row.domain) || row.value !== null),
    "domain",
  );
  const names = defined.sort((a, b) => inDomain(a) - inDomain(b));
  const compared = names.filter((domain) =>
    rows.some((row) => row.domain === domain && row.difference !== null),
  );
  const cellOf = (row, key, ends) => {
    if (!row) return MISSING;
    const [, scale, digits] = data.metrics[row.metric];
    const scaled = (value) => (value === null ? null : value * scale);
    const written = interval(scaled(row[`${ends}low`]), scaled(row[`${ends}high`]), digits);
    return numberCell(scaled(row[key]), written, digits, key === "value" ? row.reason : null);
  };
  const column = (domain, label, key, ends, title) => ({
    label,
    title,
    numeric: true,
    value: (row) => row[domain]?.[key] ?? null,
    cell: (row) => cellOf(row[domain], key, ends),
  });
  const columns = [
    routerColumn(),
    ...names.map((domain) =>
      column(domain, inDomain(domain) ? "all other requests" : domain, "value", ""),
    ),
    ...compared.map((domain) =>
      column(domain, `${domain} − other`, "difference", "difference_", "on the same resamples"),
    ),
  ];
  const table = grid(columns, { by: names[0], down: true }, "Routers by domain");
  const tally = h("p", { class: "readout", role: "status" });
  function show(chosen) {
    const here = where(rows, chosen);
    const sizes = names
      .map((domain) => [domain, where(here, { domain })[0]])
      .filter(([, row]) => row)
      .map(([domain, row]) => `${inDomain(domain) ? "other" : domain} ${count(row.requests)}`);
    tally.textContent = `Requests: ${sizes.join(", ")}.`;
    table.show(
      distinct(here, "router").map((router) => ({
        router,
        ...Object.fromEntries(where(here, { router }).map((row) => [row.domain, row])),
      })),
    );
  }
  const start = { direction: AVERAGE, metric: "hit_rate", budget: data.budgets[0] };
  const own = choices(rows, [METRIC, DIRECTION, BUDGET], start, show);
  show(own.chosen);
  return [
    section(
      "domains",
      "In other domains",
      "The same routers within named domains of the test data, each with the budget of its own " +
        "requests. MeanΔ also depends on how much the large model helps there at all; a random " +
        "choice has the same HitRate wherever gains do not tie. " +
        (compared.length
          ? "A difference counts if its interval leaves zero out."
          : "Too few requests, or none, are outside these domains to compare with."),
      ["domains"],
      own.element,
      tally,
      table.element,
    ),
  ];
}
