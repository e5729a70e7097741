// A pool of systems, each pair of them: what routing between the two could gain.

const ALL = "all systems";

/** Every pair, to sort and to filter; and what signals recover of the chosen pairs' headroom. */
function atlasSection() {
  const rows = rowsOf("atlas");
  if (!rows?.length) return null;
  // A row for each way to choose its systems, so that a choice offers what the others leave.
  const offered = rows.flatMap((row) =>
    [ALL, row.small].flatMap((by) => [ALL, row.large].map((to) => ({ ...row, by, to }))),
  );
  const share = { ...SHARE, low: "losses_low", high: "losses_high" };
  const columns = [
    text("small", "Small"),
    text("large", "Large"),
    numeric("mean_gain", "Mean gain", { low: "mean_gain_low", high: "mean_gain_high" }),
    numeric("losses", "Losses %", share),
    numeric("severe_losses", "Severe losses %", SHARE),
    numeric("headroom", "Headroom, raw", {
      title: "of the gain oracle over a random choice; it picks by the noise it is judged by",
      low: "headroom_low",
      high: "headroom_high",
    }),
    numeric("attainable_headroom", "Attainable", {
      title: "of a perfect predictor of the true gain, if gains and errors are jointly normal",
      low: "attainable_headroom_low",
      high: "attainable_headroom_high",
    }),
    numeric("cross_headroom", "By other metrics", {
      title: "of other metrics' gain oracles, judged by this metric: a bound below",
    }),
    numeric("reliability", "Reliability", { title: "of the gains, by how metrics agree" }),
    numeric("agreement_spearman", "Agreement", {
      title: "mean Spearman correlation with the gains by other metrics",
    }),
    whole("requests", "Requests"),
    whole("directions", "Directions", "that the average is over"),
  ];
  const filters = [["metric", "Judged by"], DIRECTION, BUDGET, ["by", "Small"], ["to", "Large"]];
  const start = {
    metric: data.settings.metric,
    direction: AVERAGE,
    budget: data.budgets[0],
    by: ALL,
    to: ALL,
  };
  const sort = { by: "Attainable", down: true };
  return [
    section(
      "atlas",
      "Every pair of systems",
      "If the first system translates by default and requests are routed to the second: what a " +
        "random choice gains (mean gain), and what more the best choice of a share p could. " +
        "Single directions have the pairs with intervals. Click a heading to sort.",
      ["atlas", "atlas_signals"],
      explorer(offered, filters, columns, { start, sort, caption: "Pairs of systems" }),
      signalsOfPairs(),
    ),
  ];
}

function signalsOfPairs() {
  const rows = rowsOf("atlas_signals")?.map((row) => ({
    ...row,
    pair: `${row.small} → ${row.large}`,
    knows: row.shares_rater ? "yes" : "no",
  }));
  if (!rows?.length) return null;
  const kinds = { gain: "gain (another metric's oracle)", quality: "quality of the small" };
  const columns = [
    text("kind", "Ranked by", (kind) => kinds[kind] ?? kind),
    text("signal", "Of"),
    numeric("recovered", "Headroom recovered %", {
      ...SHARE,
      low: "recovered_low",
      high: "recovered_high",
      title: "of the raw headroom",
    }),
    numeric("spearman", "Spearman", { low: "spearman_low", high: "spearman_high" }),
    text("knows", "Knows the judge's noise"),
  ];
  const filters = [["pair", "Pair"], ["metric", "Judged by"], BUDGET];
  const start = { pair: rows[0].pair, metric: data.settings.metric, budget: data.budgets[0] };
  const sort = { by: "Headroom recovered %", down: true };
  return [
    h("h3", {}, "What signals recover of it"),
    explorer(rows, filters, columns, { start, sort, caption: "Signals, on the average" }),
  ];
}
