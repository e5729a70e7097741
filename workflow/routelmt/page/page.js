// The page: introduction, sections in order, and the list of them.
const SECTIONS = [
  answerSection,
  paretoSection,
  routersSection,
  comparisonsSection,
  costsSection,
  poolSection,
  riskSection,
  guardsSection,
  guardCostsSection,
  casesSection,
  streamingSection,
  driftSection,
  budgetsSection,
  domainsSection,
  transferSection,
  atlasSection,
  metricsSection,
  dataSection,
  glossarySection,
  provenanceSection,
];

function introduction() {
  const { experiment, metric, small, large } = data.settings;
  const routers = rowsOf("routers");
  const requests = where(routers, { direction: AVERAGE })[0]?.requests ?? routers[0].requests;
  const directions = distinct(routers, "direction").filter((direction) => direction !== AVERAGE);
  return h(
    "p",
    {},
    `Two models translate: a small, cheap one (${small}) and a large, expensive one ` +
      `(${large}). The large one helps some requests much, ` +
      "others little or not at all. A router looks at each request and decides which " +
      "of them deserve the large model, within a budget p: " +
      "the share of the requests that may go there. What it wins is the gain: how " +
      "much better the large model's translation is than the small one's, in points " +
      `of ${metric} (0 to 100). ` +
      `The experiment “${experiment}” compares ${Object.keys(data.roles).length} ` +
      `routers on ${count(requests)} requests in ${directions.length} directions ` +
      `(${directions.join(", ")}).`,
  );
}

function build() {
  document.getElementById("introduction").append(introduction());
  const main = document.getElementById("main");
  const contents = document.getElementById("contents");
  for (const made of SECTIONS.map((make) => make()).filter(Boolean)) {
    const [element, start] = made;
    main.append(element);
    const title = element.querySelector("h2").textContent;
    contents.append(h("li", {}, h("a", { href: `#${element.id}` }, title)));
    start?.();
  }
  document
    .getElementById("footer")
    .append(
      h(
        "p",
        {},
        `routelmt ${data.provenance.tables.routers.packages.routelmt}. This file ` +
          "needs no network and holds all it shows.",
      ),
    );
  addEventListener("hashchange", openTarget);
  addEventListener("beforeprint", () => {
    for (const record of document.querySelectorAll(".record")) record.open = true;
  });
  openTarget();
}

/** A link to the provenance of a table opens it. */
function openTarget() {
  const target =
    location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  if (target.matches("details")) target.open = true;
  target.scrollIntoView();
}

build();
