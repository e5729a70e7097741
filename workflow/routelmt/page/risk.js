// What the large model makes worse: shares, guards against it, and the requests themselves.
function riskSection() {
  const rows = rowsOf("risk_buckets");
  if (!rows) return null;
  const kinds = Object.keys(data.buckets);
  const share = (bucket) => ({
    label: data.buckets[bucket][0],
    numeric: true,
    value: (row) => row[bucket].share,
    cell: (row) =>
      numberCell(
        100 * row[bucket].share,
        interval(100 * row[bucket].low, 100 * row[bucket].high, 1),
        1,
      ),
  });
  const columns = [
    routerColumn(),
    { label: "Shares", cell: (row) => bar(kinds.map((bucket) => [bucket, row[bucket].share])) },
    ...kinds.map(share),
  ];
  const table = grid(
    columns,
    { by: data.buckets[kinds[0]][0], down: false },
    "Shares of the routed requests, in %",
  );
  const pivoted = (chosen) => {
    const here = where(rows, chosen);
    return distinct(here, "router").map((router) => ({
      router,
      ...Object.fromEntries(where(here, { router }).map((row) => [row.bucket, row])),
    }));
  };
  const own = choices(rows, [DIRECTION, BUDGET], { direction: AVERAGE }, (chosen) =>
    table.show(pivoted(chosen)),
  );
  table.show(pivoted(own.chosen));
  return [
    section(
      "risk",
      "What the large model makes worse",
      "Of the requests that each router sends to the large model: how many lose " +
        "badly by it, lose a little, stay the same, or gain. A random choice shows " +
        "what sending everything would do.",
      ["risk_buckets"],
      own.element,
      h(
        "p",
        { class: "legend" },
        kinds.map((bucket) =>
          h("span", {}, bar([[bucket, 1]], 16), ` ${data.buckets[bucket][0]} `),
        ),
      ),
      table.element,
    ),
  ];
}

function bar(shares, width = 150) {
  const picture = s("svg", { width, height: 14, class: "bar", "aria-hidden": "true" });
  let left = 0;
  for (const [bucket, share] of shares) {
    const part = s("rect", { x: left * width, y: 0.5, width: share * width, height: 13 });
    part.style.setProperty("--colour", data.buckets[bucket][1]);
    part.append(s("title", {}, `${data.buckets[bucket][0]} ${percent(share, 1)}`));
    picture.append(part);
    left += share;
  }
  return picture;
}

function guardsSection() {
  const rows = rowsOf("guards");
  if (!rows?.length) return null;
  const guards = distinct(rows, "guard").sort((a, b) => (a === "none") - (b === "none"));
  const picture = chart({
    label: "Severe losses against mean gain of the routed requests, a line per guard",
    x: {
      label: "severe losses of the routed requests",
      write: (v) => percent(v, 1),
      tick: (v) => percent(v),
    },
    y: { label: `MeanΔ (${data.settings.metric}, points)`, write: (v) => number(v, 2) },
    by: "point",
    legend: true,
  });
  const table = grid(
    [
      text("guard", "Guard"),
      numeric("quantile", "Eligible %", { scale: 100, digits: 0 }),
      numeric("severe_loss", "Severe losses %", {
        ...SHARE,
        low: "severe_loss_low",
        high: "severe_loss_high",
      }),
      numeric("mean_delta", "MeanΔ", { low: "mean_delta_low", high: "mean_delta_high" }),
      { label: "Deployable", value: deployable, cell: deployable },
    ],
    null,
    "Guards",
  );
  function show(chosen) {
    const here = where(rows, chosen);
    table.show(here);
    const series = guards.map((guard) => {
      const own = where(here, { guard }).sort((a, b) => a.quantile - b.quantile);
      const name = guard === "none" ? chosen.router : guard;
      return {
        name: guard,
        label: guard === "none" ? "no guard" : guard,
        look: data.looks[name] ?? { colour: "#777777", dashes: [], marker: "o", width: 1.2 },
        neutral: (data.roles[name] ?? "router") !== "router",
        points: own.map((row) => ({
          x: row.severe_loss,
          y: row.mean_delta,
          low: row.mean_delta_low,
          high: row.mean_delta_high,
          note:
            guard === "none"
              ? "no guard"
              : `${percent(row.quantile)} eligible` +
                (same(row.quantile, row.budget) ? ": the guard routes alone" : ""),
        })),
      };
    });
    picture.show(series.filter((line) => line.points.length));
  }
  const own = choices(rows, [RANKING, DIRECTION, BUDGET], { direction: AVERAGE }, show);
  const element = section(
    "guards",
    "Guards against severe losses",
    "A guard lets only those requests through whose small translation looks bad; " +
      "among them the router's ranking decides. With as few eligible as the budget " +
      "allows, the guard routes alone. Up and to the left is better.",
    ["guards"],
    own.element,
    picture.element,
    table.element,
  );
  return [element, () => show(own.chosen)];
}

/** What the guards save, and what they take. */
function guardCostsSection() {
  const rows = rowsOf("guard_costs");
  if (!rows?.length) return null;
  const ranked = rows.filter((row) => row.role !== "random");
  const guards = distinct(ranked, "guard").sort((a, b) => (a === "none") - (b === "none"));
  const picture = chart({
    label: "Severe losses against seconds for 1,000 requests, a line per guard",
    x: { label: "seconds for 1,000 requests, asked by rank", write: (v) => number(v, 2) },
    y: {
      label: "severe losses of the routed requests (%)",
      write: (v) => number(v, 2),
    },
    by: "point",
    legend: true,
    height: 320,
  });
  const table = grid(
    [
      {
        label: "Guard",
        value: guardName,
        cell: (row) => h("span", { class: "router" }, guardName(row)),
      },
      numeric("quantile", "Eligible %", { scale: 100, digits: 0 }),
      numeric("severe_loss", "Severe losses %", {
        ...SHARE,
        low: "severe_loss_low",
        high: "severe_loss_high",
      }),
      numeric("mean_delta", "MeanΔ", { low: "mean_delta_low", high: "mean_delta_high" }),
      numeric("calibrated_seconds", "Seconds, asked by rank", {
        title: "per 1,000 requests; a threshold tells who is eligible, the best are asked first",
      }),
      numeric("asked", "Asked so %", SHARE),
      numeric("seconds", "Seconds, all asked", { low: "seconds_low", high: "seconds_high" }),
      numeric("guard_seconds", "Of these, the guard's"),
      { label: "Note", value: guardNote, cell: guardNote },
    ],
    null,
    "Costs of guards",
  );
  function show(chosen) {
    const { direction, budget } = chosen;
    const here = where(ranked, chosen);
    const chance = where(rows, { role: "random", direction, budget });
    table.show([...here, ...chance]);
    const series = guards.map((guard) => {
      const own = where(here, { guard }).sort((a, b) => a.quantile - b.quantile);
      const name = guard === "none" ? chosen.router : guard;
      return {
        name: guard,
        label: guard === "none" ? "no guard" : routerLabel(guard),
        look: data.looks[name] ?? { colour: "#777777", dashes: [], marker: "o", width: 1.2 },
        neutral: (data.roles[name] ?? "router") !== "router",
        points: own
          .filter((row) => row.calibrated_seconds !== null)
          .map((row) => ({
            x: row.calibrated_seconds,
            y: 100 * row.severe_loss,
            low: 100 * row.severe_loss_low,
            high: 100 * row.severe_loss_high,
            note: [guard === "none" ? "no guard" : `${percent(row.quantile)} eligible`]
              .concat(row.degenerate ? ["the guard routes alone"] : [])
              .join(": "),
          })),
      };
    });
    picture.show(series.filter((line) => line.points.length));
  }
  const own = choices(ranked, [RANKING, DIRECTION, BUDGET], { direction: AVERAGE }, show);
  const element = section(
    "guard-costs",
    "What the guards cost",
    "A guard's signal takes time for every request that is asked. With a threshold from held-out " +
      "data the requests are asked one by one, the best by rank first, until the budget is " +
      "spent. Down and to the left is better; where intervals overlap, the requests do not show " +
      "whether a guard saves anything.",
    ["guard_costs"],
    own.element,
    picture.element,
    table.element,
  );
  return [element, () => show(own.chosen)];
}

function guardName(row) {
  if (row.role === "random") return `none: ${routerLabel(row.router)}`;
  return row.guard === "none" ? "none" : routerLabel(row.guard);
}

function guardNote(row) {
  const said = [];
  if (row.role === "oracle") said.push("needs the reference; its signal counts as free");
  if (row.degenerate) said.push("the guard routes alone");
  if (row.seconds === null && row.reason) said.push(`no seconds: ${row.reason}`);
  return said.join("; ");
}

function deployable(row) {
  return row.oracle ? "no: needs the reference" : "yes";
}

const KINDS = {
  severe_loss: "severe losses",
  largest_gain: "largest gains",
  worst_regression: "worst regressions",
};

const CASES = 10;

function casesSection() {
  const rows = rowsOf("cases");
  if (!rows?.length) return null;
  const list = h("div", { class: "cases" });
  const more = h("button", {
    type: "button",
    class: "more",
    click: () => show(state, limit + 4 * CASES),
  });
  const tally = h("p", { class: "readout", role: "status" });
  const senders = [...new Set(rows.flatMap((row) => row.routed_by ?? []))];
  const state = { kind: "severe_loss", direction: null, budget: null, router: null };
  let limit = CASES;
  function show(chosen, wanted = CASES) {
    limit = wanted;
    Object.assign(state, chosen);
    const { kind, budget, direction, router } = state;
    const found = rows.filter(
      (row) =>
        row.kind === kind &&
        same(row.budget, budget) &&
        (direction === null || row.direction === direction) &&
        (router === null || (row.routed_by ?? []).includes(router)),
    );
    tally.textContent = `${count(found.length)} requests listed.`;
    list.replaceChildren(...found.slice(0, limit).map(caseCard));
    more.hidden = found.length <= limit;
    more.textContent = `Show ${count(Math.min(4 * CASES, found.length - limit))} more`;
  }
  const any = (label, values, written) => [
    [null, label],
    ...values.map((value) => [value, written(value)]),
  ];
  const kinds = distinct(rows, "kind");
  state.kind = kinds.includes(state.kind) ? state.kind : kinds[0];
  state.budget = rows[0].budget;
  const controls = h(
    "div",
    { class: "controls" },
    choice(
      "Kind",
      kinds.map((kind) => [kind, KINDS[kind] ?? kind]),
      state.kind,
      (kind) => show({ kind }),
    ),
    choice(
      "Direction",
      any("any direction", distinct(rows, "direction"), directionLabel),
      null,
      (direction) => show({ direction }),
    ),
    choice("Sent by", any("any router, or none", senders, routerLabel), null, (router) =>
      show({ router }),
    ),
    choice(
      "Budget p",
      distinct(rows, "budget").map((budget) => [budget, percent(budget)]),
      state.budget,
      (budget) => show({ budget }),
    ),
  );
  show(state);
  return [
    section(
      "cases",
      "Requests to look at",
      "Picked by rule, not by hand: severe losses that a deployable router sends to " +
        "the large model, and the largest gains and worst regressions of each " +
        "direction. Very long texts are cut.",
      ["cases"],
      controls,
      tally,
      list,
      more,
      data.provenance.tables.cases.notes.map((note) => h("p", { class: "note" }, note)),
    ),
  ];
}

function caseCard(row) {
  const said = (label, words, flags) => [
    h("dt", {}, label, flags.length ? h("em", {}, ` ${flags.join(", ")}`) : null),
    h("dd", {}, h("bdi", { dir: "auto" }, words === "" ? "(empty)" : (words ?? "(not published)"))),
  ];
  const flags = (size) => ["degenerate", "truncated"].filter((flag) => row[`${flag}_${size}`]);
  const spans = ["small", "large"].filter((size) => row[`error_spans_${size}`]);
  const senders = (row.routed_by ?? []).map((router, at) => {
    const share = row.seed_shares?.[at] ?? 1;
    return share < 1 ? `${router} (${percent(share)} of its seeds)` : router;
  });
  return h(
    "article",
    { class: "case" },
    h(
      "h3",
      {},
      h("span", { class: row.gain < 0 ? "loss" : "gain" }, `gain ${number(row.gain, 1)}`),
      h(
        "span",
        { class: "where" },
        [row.direction, row.dataset, row.domain, row.segment_id].filter(Boolean).join(" · "),
      ),
    ),
    h(
      "dl",
      {},
      said("Source", row.source, []),
      said("Reference", row.reference, []),
      said(`Small model, ${number(row.quality_small, 1)}`, row.hypothesis_small, flags("small")),
      said(`Large model, ${number(row.quality_large, 1)}`, row.hypothesis_large, flags("large")),
    ),
    h(
      "p",
      {},
      senders.length
        ? `Sent to the large model by ${senders.join(", ")}.`
        : "Sent to the large model by no deployable router.",
    ),
    spans.length
      ? h(
          "details",
          {},
          h("summary", {}, "Errors that the metric marks"),
          spans.map((size) =>
            h("p", {}, `${size}: `, h("code", {}, h("bdi", {}, row[`error_spans_${size}`]))),
          ),
        )
      : null,
  );
}
