// What a deployment comes to: costs, thresholds, drift and budgets.
function costsSection() {
  const rows = rowsOf("costs");
  if (!rows) return null;
  const picture = chart({
    label: "Mean quality against cost as a share of the large model's alone, a line per router",
    x: {
      label: "cost, large model alone = 100 %",
      write: (v) => percent(v, 1),
      tick: (v) => percent(v),
    },
    y: { label: `mean quality (${data.settings.metric}, points)`, write: (v) => number(v, 2) },
    by: "point",
    routers: true,
  });
  const columns = [
    routerColumn(),
    numeric("seconds", "Seconds per 1,000", { low: "seconds_low", high: "seconds_high" }),
    numeric("of_all_large", "% of all-large", SHARE),
    numeric("router_share", "Router's share %", SHARE),
    numeric("break_even", "Break-even p %", {
      ...SHARE,
      title: "budget at which all-large costs the same",
    }),
    ...(rows.some((row) => row.money !== null)
      ? [numeric("money", `Money (${rows.find((row) => row.currency)?.currency})`, { digits: 4 })]
      : []),
    numeric("quality", "Quality"),
    numeric("aiq_seconds", "AIQ over seconds", {
      low: "aiq_seconds_low",
      high: "aiq_seconds_high",
      title: "mean quality under the hull over all budgets, between the two models' costs",
    }),
    numeric("aiq_zero", "AIQ without a router"),
  ];
  const table = grid(columns, { by: "Quality", down: true }, "Costs");
  const show = (chosen) => {
    table.show(where(rows, chosen));
    const here = where(rows, { direction: chosen.direction }).filter(
      (row) => row.of_all_large !== null,
    );
    const series = distinct(here, "router").map((router) => ({
      name: router,
      label: routerLabel(router),
      look: data.looks[router],
      neutral: data.roles[router] !== "router",
      points: where(here, { router })
        .sort((a, b) => a.budget - b.budget)
        .map((row) => ({
          x: row.of_all_large,
          y: row.quality,
          note: `p = ${percent(row.budget)}`,
        })),
    }));
    picture.show(series, { rule: 1 });
  };
  const own = choices(
    rows,
    [DIRECTION, BUDGET],
    { direction: AVERAGE, budget: data.budgets[0] },
    show,
  );
  const element = section(
    "costs",
    "What it costs",
    "Time on the measured device for 1,000 requests, from the tokens that each of " +
      "them took. Routers that send long requests pay for them; a router's own passes " +
      "count.",
    ["costs"],
    own.element,
    picture.element,
    table.element,
    distinct(rows, "remark")
      .filter(Boolean)
      .map((remark) => h("p", { class: "note" }, `Seconds ${remark}.`)),
  );
  return [element, () => show(own.chosen)];
}

const policyName = (policy) => data.policies[policy]?.[0] ?? policy;

const STREAM_COLUMNS = [
  text("policy", "Threshold", policyName),
  numeric("rate", "Realised rate %", { ...SHARE, low: "rate_low", high: "rate_high" }),
  numeric("mean_delta", "MeanΔ", { low: "mean_delta_low", high: "mean_delta_high" }),
  numeric("quality", "Quality", { low: "quality_low", high: "quality_high" }),
  numeric("offline_quality", "Of the best as many", {
    title: "quality with as many requests as were sent, those of highest priority",
  }),
  numeric("random_quality", "Of any as many", {
    title: "quality with as many requests as were sent, drawn by chance",
  }),
  whole("rate_alarm", "Alarm of the rate after", "requests until a stream left its band"),
  whole("traffic_alarm", "Alarm of the traffic after", "the same of a fixed threshold beside it"),
];

function streamingSection() {
  const streaming = rowsOf("streaming");
  const calibration = rowsOf("calibration");
  if (!streaming && !calibration) return null;
  const parts = [];
  const starts = [];
  if (streaming)
    parts.push(
      explorer(streaming, [ROUTER, DIRECTION, BUDGET], STREAM_COLUMNS, {
        start: { router: bestRouter(), direction: AVERAGE },
        caption: "Requests routed one at a time",
      }),
    );
  if (calibration) {
    const [element, start] = calibrationChart(calibration);
    parts.push(h("h3", {}, "Realised against asked-for rate"), element);
    starts.push(start);
  }
  const reliability = rowsOf("reliability");
  if (reliability?.length) {
    const [element, start] = reliabilityChart(reliability);
    parts.push(h("h3", {}, "Predicted against observed gain"), element);
    starts.push(start);
  }
  return [
    section(
      "streaming",
      "One request at a time",
      "In use, requests come one by one: a threshold taken from held-out data " +
        "decides each of them. How near does the share come to the budget, and what " +
        "does it cost in quality? Intervals hold other calibration data and other " +
        "traffic; test data need not be like the validation data.",
      ["streaming", "calibration", "reliability"],
      parts,
    ),
    () => starts.forEach((start) => start()),
  ];
}

function calibrationChart(rows) {
  const picture = chart({
    label: "Realised minus asked-for rate, a line per router",
    x: {
      label: "rate that the threshold was set for on validation data",
      tick: (p) => percent(p),
      write: (p) => percent(p),
      low: 0,
      high: 1,
    },
    y: { label: "realised on test data − asked for (points)", write: (v) => number(v, 1) },
    by: "x",
    legend: true,
    routers: true,
    height: 300,
  });
  const show = (chosen) => {
    const here = where(rows, chosen).filter((row) => row.role !== "oracle");
    const series = distinct(here, "router").map((router) => ({
      name: router,
      label: routerLabel(router),
      look: data.looks[router],
      neutral: data.roles[router] !== "router",
      band: router === bestRouter(),
      points: where(here, { router }).map((row) => ({
        x: row.target,
        y: 100 * (row.rate - row.target),
        low: 100 * (row.low - row.target),
        high: 100 * (row.high - row.target),
      })),
    }));
    picture.show(series, { level: 0 });
  };
  const own = choices(rows, [DIRECTION], { direction: AVERAGE }, show);
  return [h("div", {}, own.element, picture.element), () => show(own.chosen)];
}

function reliabilityChart(rows) {
  const picture = chart({
    label: "Observed against predicted gain in bins of equally many requests",
    x: { label: `mean predicted gain (${data.settings.metric}, points)`, write: (v) => number(v, 1) },
    y: { label: `mean observed gain (${data.settings.metric}, points)`, write: (v) => number(v, 1) },
    by: "point",
    legend: true,
    routers: true,
    height: 300,
  });
  const show = (chosen) => {
    const here = where(rows, { direction: chosen.direction });
    const series = distinct(here, "router").map((router) => ({
      name: router,
      look: data.looks[router],
      ends: true,
      points: where(here, { router }).map((row) => ({
        x: row.predicted,
        y: row.observed,
        low: row.low,
        high: row.high,
        note: `${count(row.requests)} requests`,
      })),
    }));
    picture.show(series, { diagonal: true });
  };
  const own = choices(rows, [DIRECTION], { direction: "all" }, show);
  return [h("div", {}, own.element, picture.element), () => show(own.chosen)];
}

function driftSection() {
  const rows = rowsOf("drift");
  const paths = rowsOf("drift_paths");
  if (!rows?.length && !paths?.length) return null;
  const scenario = ["scenario", "Traffic", (name) => data.scenarios[name] ?? name];
  const parts = [];
  let start = null;
  if (paths?.length) {
    const picture = chart({
      label: "Share routed so far as requests come, a line per kind of threshold",
      x: { label: "requests so far", write: count },
      y: { label: "routed so far (%)", write: (v) => number(v, 1) },
      by: "x",
      legend: true,
      height: 320,
    });
    const show = (chosen) => {
      const here = where(paths, chosen).filter((row) => row.request >= 30);
      const [first] = distinct(here, "policy");
      const series = distinct(here, "policy").map((policy) => ({
        name: policy,
        label: policyName(policy),
        look: data.policies[policy]?.[1] ?? data.looks[chosen.router],
        points: where(here, { policy }).map((row) => ({ x: row.request, y: 100 * row.rate })),
      }));
      const band = where(here, { policy: first }).map((row) => ({
        x: row.request,
        low: 100 * row.low,
        high: 100 * row.high,
      }));
      picture.show(series, { band, level: 100 * chosen.budget });
    };
    const own = choices(
      paths,
      [scenario, ROUTER, ["direction", "Direction", directionLabel], BUDGET],
      { scenario: "shift", router: bestRouter() },
      show,
    );
    parts.push(own.element, picture.element);
    if (data.tables.drift_paths.rows < data.tables.drift_paths.of)
      parts.push(
        h(
          "p",
          { class: "note" },
          `${ofRouters(paths, "Deployable routers")}, at most 24 moments a line: ` +
            `${count(data.tables.drift_paths.rows)} of the table's ` +
            `${count(data.tables.drift_paths.of)} rows.`,
        ),
      );
    start = () => show(own.chosen);
  }
  if (rows?.length)
    parts.push(
      explorer(rows, [scenario, ROUTER, DIRECTION, BUDGET], STREAM_COLUMNS, {
        start: { scenario: "shift", router: bestRouter(), direction: AVERAGE },
        caption: "Where all requests have come",
      }),
    );
  return [
    section(
      "drift",
      "When the traffic changes",
      "The threshold comes from one part of the data and meets another. A fixed " +
        "threshold stays as it was, a rolling quantile follows the last requests, a " +
        "controller corrects itself. Without drift, where requests come in random " +
        "order and are not alike in clusters, a row's alarms (of all its seeds and " +
        "directions together) are false with at most the level of the config.",
      ["drift", "drift_paths"],
      parts,
    ),
    start,
  ];
}

function budgetsSection() {
  const smallest = rowsOf("smallest_budget");
  const budgets = rowsOf("budgets");
  if (!smallest && !budgets) return null;
  const parts = [];
  if (smallest)
    parts.push(
      h("h3", {}, "The smallest budget near the large model alone"),
      explorer(
        smallest,
        [["within", "Within", (x) => (x === 1 ? "1 point" : `${x} points`)], DIRECTION],
        [
          routerColumn(),
          numeric("budget", "Smallest p %", {
            ...SHARE,
            title: "with confidence for a router chosen without the validation data",
          }),
          numeric("simultaneous", "Simultaneous p %", {
            ...SHARE,
            title: "with the same confidence for all routers at once: whichever is taken",
          }),
          numeric("test_difference", "Test: quality − all-large", ENDS),
          {
            label: "Kept on test",
            value: (row) => Number(row.held),
            cell: (row) => (row.held ? "yes" : "no"),
          },
          numeric("calibration_bound", "Bound on validation"),
          {
            label: "Tuned on validation",
            title: "the same rows have chosen the router's epoch, rate or strength",
            value: (row) => Number(row.chosen_on_validation),
            cell: (row) => (row.chosen_on_validation ? "yes" : "no"),
          },
        ],
        {
          start: { direction: AVERAGE },
          sort: { by: "Smallest p %", down: false },
          caption: "Smallest budgets, chosen on validation data",
        },
      ),
    );
  if (budgets)
    parts.push(
      h("h3", {}, "Sharing one budget out over the directions"),
      explorer(
        budgets,
        [ROUTER, ["direction", "Direction", directionLabel], BUDGET],
        [
          text("allocation", "Allocation", (name) => name.replaceAll("_", " ")),
          numeric("rate", "Rate %", SHARE),
          numeric("mean_delta", "MeanΔ", { low: "mean_delta_low", high: "mean_delta_high" }),
          numeric("quality", "Quality", { low: "quality_low", high: "quality_high" }),
          numeric("behind_oracle", "Behind the oracle", {
            low: "behind_oracle_low",
            high: "behind_oracle_high",
          }),
        ],
        { start: { router: bestRouter(), direction: "all" }, caption: "Allocations" },
      ),
    );
  return [section("budgets", "Budgets", null, ["smallest_budget", "budgets"], parts)];
}
