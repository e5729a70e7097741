"""The workflow's table `routers` of an experiment, command by command in this process."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from routelmt import tables
from routelmt.__main__ import main
from routelmt.config import dataset_directions, resolve
from routelmt.plan import Plan
from routelmt.settings import stage_settings

_NEEDS = ("estimates",)


def routers(config: Mapping[str, Any], experiment: str) -> dict[tuple[str, str], float]:
    """MeanΔ by router and direction; files go into the current folder."""
    found = resolve(config)
    plan, settings, spec = Plan(found), stage_settings(found), found["experiments"][experiment]
    used = {found["routers"][router].get("metric") for router in spec["routers"]} - {None}
    for dataset, direction in dataset_directions(found, experiment, "test"):
        place = f"{dataset}/{direction}.parquet"
        segments, out = ("--segments", f"data/segments/{place}"), "--out"
        call("segments", "--origin", plan.origin(dataset), "--dataset", dataset, "--direction",
             direction, "--settings", settings["datasets"][dataset], out, segments[1])  # fmt: skip
        for model in (spec["small"], spec["large"]):
            said = f"results/hypotheses/{model}/{place}"
            call("translate", *segments, "--model", model, "--settings",
                 settings["models"][model], out, said)  # fmt: skip
            for metric in {spec["metric"], *used}:
                call("score", *segments, "--hypotheses", said, "--metric", metric, "--settings",
                     settings["metrics"][metric], out,
                     f"results/scores/{metric}/{model}/{place}")  # fmt: skip
        pair = [f"results/scores/{spec['metric']}/{spec[s]}/{place}" for s in ("small", "large")]
        gains = f"results/gains/{spec['metric']}/{spec['small']}--{spec['large']}/{place}"
        call("gains", *segments, "--small", pair[0], "--large", pair[1], out, gains)
    for router in spec["routers"]:
        needs = {n: plan.needed_for(experiment, router, n, "test") for n in _NEEDS}
        needs["gains"] = plan.known_gains(experiment, router, "test")
        call("predict", "--segments", *plan.segments(experiment, "test"), "--router", router,
             "--settings", json.dumps(found["routers"][router]), "--model", "{}", "--seed", "0",
             *(a for n, files in needs.items() if files for a in (f"--{n}", *files)),
             out, plan.router_predictions(experiment, router, "test")[0])  # fmt: skip
    inputs = plan.table_inputs(experiment, "routers")
    call("table", "routers", "--settings", settings["tables"][experiment]["routers"],
         *(a for n, files in inputs.items() if files for a in (f"--{n.replace('_', '-')}", *files)),
         out, "routers.parquet")  # fmt: skip
    rows = tables.read("routers.parquet", "routers").to_pylist()
    return {(r["router"], r["direction"]): r["value"] for r in rows if r["metric"] == "mean_delta"}


def call(*words: str) -> None:
    arguments: Sequence[str] = list(words)
    assert main(arguments) == 0, words
