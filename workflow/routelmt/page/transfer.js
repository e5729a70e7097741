// Routers on domains that they were trained on, and on domains that are new to them.

/** One line per router: a metric on seen and on unseen domains, the difference, and chance. */
function transferSection() {
  const place = (row) => ({
    ...row,
    place: row.part === AVERAGE ? row.split : `${row.split}: ${row.part}`,
  });
  const rows = rowsOf("transfer")?.map(place);
  if (!rows?.length) return null;
  const compared = (rowsOf("transfer_comparisons") ?? []).map(place);
  const column = (key, label, field, title) => ({
    label,
    title,
    numeric: true,
    value: (row) => row[key]?.[field] ?? null,
    cell: (row) => {
      const own = row[key];
      if (!own) return MISSING;
      const [, scale, digits] = data.metrics[own.metric];
      const scaled = (value) => (value === null ? null : value * scale);
      const written = interval(scaled(own.low), scaled(own.high), digits);
      return numberCell(scaled(own[field]), written, digits, own.reason);
    },
  });
  const columns = [
    routerColumn(),
    column("seen", "On domains seen", "value"),
    column("unseen", "On domains not seen", "value"),
    column("lost", "Seen − not seen", "difference", "on the same resamples"),
    probability("lost_p", "p (Holm)", "corrected for the number of routers"),
    column("chance", "Not seen − chance", "difference", "on the same resamples"),
    probability("chance_p", "p (Holm) ", "corrected for the number of pairs of routers"),
  ];
  const table = grid(columns, { by: "On domains not seen", down: true }, "Routers by transfer");
  const tally = h("p", { class: "readout", role: "status" });
  const chance = (row) => data.roles[row.other] === "random";
  function show(chosen) {
    const here = where(rows, chosen);
    const differences = where(compared, chosen);
    const { clusters, requests, left_out } = here[0];
    tally.textContent =
      `${count(requests)} requests of ${count(clusters)} domains, which are what is resampled.` +
      (left_out ? ` ${count(left_out)} requests are of domains in no part.` : "");
    table.show(
      distinct(here, "router").map((router) => {
        const own = where(here, { router });
        const untrained = where(own, { seen: null })[0];
        const lost = where(differences, { router, seen: true })[0];
        const above = where(differences, { router, seen: false }).find(chance);
        return {
          router,
          seen: untrained ?? where(own, { seen: true })[0],
          unseen: untrained ?? where(own, { seen: false })[0],
          lost,
          lost_p: lost?.p_holm ?? null,
          chance: above,
          chance_p: above?.p_holm ?? null,
        };
      }),
    );
  }
  const start = {
    place: rows[rows.length - 1].place,
    metric: "headroom",
    budget: data.budgets[0],
  };
  const columnsOfChoice = [["place", "Tested on"], METRIC, BUDGET];
  const own = choices(rows, columnsOfChoice, start, show);
  show(own.chosen);
  return [
    section(
      "transfer",
      "On domains they have not seen",
      "Every router was trained on each part of a split of the domains. Seen: tested on the part " +
        "it was trained on; not seen: on the other. Chance and the oracle have seen neither.",
      ["transfer", "transfer_comparisons"],
      own.element,
      tally,
      table.element,
    ),
  ];
}
