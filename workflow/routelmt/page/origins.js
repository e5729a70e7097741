// What the numbers rest on: data, words, and the files they come from.
function dataSection() {
  const sheet = rowsOf("datasheet");
  const shared = rowsOf("contamination");
  const flags = rowsOf("flags");
  const training = rowsOf("training");
  const parts = [];
  if (sheet)
    parts.push(
      explorer(
        sheet,
        [["role", "Used for"]],
        [
          text("dataset", "Dataset"),
          text("direction", "Direction"),
          whole("segments", "Segments"),
          whole("groups", "Distinct texts"),
          whole("documents", "Documents"),
          numeric("source_words_mean", "Words per source", { digits: 1 }),
          numeric("reference_words_mean", "Words per reference", { digits: 1 }),
        ],
        { start: { role: "test" }, caption: "Data" },
      ),
    );
  if (shared?.length)
    parts.push(
      h("h3", {}, "Contamination"),
      h(
        "p",
        {},
        "Training and validation rows whose text is also in held-out data, and how " +
          "many were removed.",
      ),
      explorer(
        shared,
        [["direction", "Direction", directionLabel]],
        [
          text("dataset", "Dataset"),
          text("held_out", "Compared with"),
          whole("rows", "Rows"),
          whole("exact", "Exact"),
          whole("near", "Near"),
          whole("group", "Same group"),
          whole("removed", "Removed"),
        ],
        { start: { direction: "all" }, caption: "Contamination" },
      ),
    );
  if (flags?.length)
    parts.push(
      h("h3", {}, "Flags of the translations"),
      h(
        "p",
        {},
        "Translations of which the metric saw only a part, and those that are blank, " +
          "runaway or one piece repeated. They are evaluated unless the config leaves them out.",
      ),
      explorer(
        flags,
        [["dataset", "Dataset"]],
        [
          text("model", "Model"),
          text("direction", "Direction"),
          whole("requests", "Translations"),
          whole("truncated", "Truncated"),
          whole("degenerate", "Degenerate"),
          whole("length", "Cut by the limit"),
          whole("left_out", "Requests left out"),
        ],
        { caption: "Flags" },
      ),
    );
  if (training?.length)
    parts.push(
      h("h3", {}, "Training: the epochs that were kept"),
      explorer(
        training,
        [],
        [
          routerColumn(),
          whole("seed", "Seed"),
          numeric("learning_rate", "Learning rate", { digits: 5 }),
          whole("epoch", "Epoch"),
          numeric("train_loss", "Training loss", { digits: 3 }),
          numeric("validation_loss", "Validation loss", { digits: 3 }),
          numeric("validation_spearman", "Validation Spearman", { digits: 3 }),
        ],
        { caption: "Kept epochs" },
      ),
    );
  if (!parts.length) return null;
  return [
    section(
      "data",
      "Data and training",
      null,
      ["datasheet", "contamination", "flags", "training"],
      parts,
    ),
  ];
}

function glossarySection() {
  const terms = [
    ["Request", "a sentence or text to translate, with its direction."],
    [
      "Gain",
      "quality of the large model's translation minus that of the small one's, in " +
        "points of the metric. Negative where the large model is worse.",
    ],
    [
      "Router",
      "a rule that ranks requests by how much the large model should help, before or " +
        "after the small one has translated.",
    ],
    [
      "Budget p",
      "the share of the requests that may go to the large model; in every direction " +
        "the router's top share goes.",
    ],
    [
      "Oracle",
      "a ranking by what only the outcome shows. It cannot be deployed and marks what is possible.",
    ],
    [
      "Random",
      "no ranking: what is expected of a random choice. Its gain is that of all requests.",
    ],
    ...Object.entries(MEANINGS).map(([key, meaning]) => [data.metrics[key][0], `${meaning}.`]),
    [
      "[a, b]",
      `${percent(data.level)} interval: the requests are drawn again ` +
        `${count(data.replicates)} times, texts that belong together as one.`,
    ],
    ["Not distinguishable", "the data do not show which is better: more requests might."],
  ];
  return [
    section(
      "words",
      "What the words mean",
      null,
      [],
      h(
        "dl",
        { class: "glossary" },
        terms.map(([term, meaning]) => [h("dt", {}, term), h("dd", {}, meaning)]),
      ),
    ),
  ];
}

function provenanceSection() {
  const { tables, parents } = data.provenance;
  const blocks = Object.entries(tables).map(([name, record]) =>
    h(
      "details",
      { id: `table-${name}`, class: "record" },
      h("summary", {}, h("strong", {}, name), ` ${record.about}; ${count(record.rows)} rows`),
      h("pre", { tabindex: 0 }, h("code", {}, `python -m routelmt audit ${record.path}`)),
      h(
        "dl",
        {},
        pair("File", record.path),
        pair("Content", record.content),
        pair("Made by", `stage ${record.stage}`),
        pair("Code", record.code),
        pair(
          "Packages",
          Object.entries(record.packages)
            .map(([p, version]) => `${p} ${version ?? "not installed"}`)
            .join(", "),
        ),
      ),
      h(
        "details",
        {},
        h("summary", {}, "Settings"),
        h("pre", { tabindex: 0 }, h("code", {}, record.settings)),
      ),
      parentList(record.parents.map((at) => parents[at])),
    ),
  );
  return [
    section(
      "provenance",
      "Where the numbers come from",
      "Every number stands in one of these Parquet files. Each file carries a record " +
        "of what made it; the command checks the file against it and follows the chain " +
        "back to the sources.",
      [],
      blocks,
    ),
  ];
}

function pair(term, value) {
  return [h("dt", {}, term), h("dd", {}, h("code", {}, value))];
}

/** The list is made when it is opened: there may be hundreds of lines. */
function parentList(parents) {
  const body = h("div", { class: "scroll" });
  const element = h(
    "details",
    {
      toggle: () => {
        if (element.open && !body.childElementCount)
          body.append(
            h(
              "table",
              {},
              h("thead", {}, h("tr", {}, h("th", {}, "File"), h("th", {}, "Content"))),
              h(
                "tbody",
                {},
                parents.map(([path, content]) =>
                  h("tr", {}, h("td", {}, path), h("td", {}, h("code", {}, content))),
                ),
              ),
            ),
          );
      },
    },
    h("summary", {}, `Made from ${count(parents.length)} files`),
    body,
  );
  return element;
}
