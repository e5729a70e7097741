"""Which files an experiment consists of: the paths of the workflow, as functions of the config."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from routelmt import stages
from routelmt.config import DATA_TABLES, ROLES, TABLES, Config, dataset_directions, router_seeds
from routelmt.data.registry import READERS
from routelmt.figures.registry import FIGURES
from routelmt.routers.registry import ROUTERS, RouterType
from routelmt.score.registry import METRICS
from routelmt.translate.registry import ENGINES

CODE = "workflow/routelmt"


class Plan:
    """Paths by stage for a resolved config (see config.resolve)."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.experiments: list[str] = list(config["experiments"])

    # --- code and registry choices -------------------------------------------------------------

    def reader(self, dataset: str) -> str:
        """Module that reads a dataset."""
        return READERS[self.config["datasets"][dataset]["source"]].module

    def engine(self, model: str) -> str:
        """Module that decodes with a model."""
        return ENGINES[self.config["models"][model]["engine"]].module

    def scorer(self, metric: str) -> str:
        """Module that computes a metric."""
        return METRICS[self.config["metrics"][metric]["type"]].module

    def router(self, router: str) -> RouterType:
        """Type of a router: its module, whether it is trained, what it needs."""
        return ROUTERS[self.config["routers"][router]["type"]]

    def code(self, stage: str, kind: str = "") -> list[str]:
        """Files whose content shapes a stage."""
        return [f"{CODE}/{file}" for file in stages.code_files(stage, kind)]

    # --- data ----------------------------------------------------------------------------------

    def source(self, name: str) -> str:
        """Folder of a source in upstream's layout: the user's own, or where it is fetched to."""
        local: str | None = self.config["sources"].get(name, {}).get("local")
        return local or f"data/raw/{name}"

    def wheels(self, corpus: str) -> str:
        """Folder of the wheels that a gettext corpus is read from."""
        return self.source(self.config["corpora"][corpus]["source"])

    def origin(self, dataset: str) -> str:
        """What the segments of a dataset are read from: a corpus table, a folder or a file."""
        spec = self.config["datasets"][dataset]
        origin = READERS[spec["source"]].origin
        if origin == "corpus":
            return f"data/corpora/{spec['corpus']}.parquet"
        return self.source(spec["origin"]) if origin == "source" else str(spec["path"])

    def sources(self) -> list[str]:
        """Sources that have to be downloaded for the experiments, each once."""
        used = {d for e in self.config["experiments"].values() for role in ROLES for d in e[role]}
        names = []
        for name, spec in self.config["datasets"].items():
            if name in used and READERS[spec["source"]].origin == "corpus":
                names.append(self.config["corpora"][spec["corpus"]]["source"])
            elif name in used and READERS[spec["source"]].origin == "source":
                names.append(spec["origin"])
        return [name for name in _distinct(names) if self.source(name) == f"data/raw/{name}"]

    def datasets(self, sharded: bool) -> str:
        """Pattern of the datasets that are (or are not) cut into shards."""
        names = [n for n, d in self.config["datasets"].items() if (d["shards"] > 1) == sharded]
        return "|".join(map(re.escape, names)) or "(?!)"

    def shards(self, root: str, dataset: str, direction: str) -> list[str]:
        """Files of a dataset's shards below `root` (see the rules)."""
        count = self.config["datasets"][dataset]["shards"]
        folder = f"results/shards/{root}/{dataset}/{direction}"
        return [f"{folder}/{i}-of-{count}.parquet" for i in range(1, count + 1)]

    def rivals(self, metric: str, model: str) -> list[str]:
        """Small models that the model is compared with as the large one, by this metric.

        Their scores are made first: where both say the same, the large one takes the score over.
        """
        return _distinct(
            e["small"]
            for e in self.config["experiments"].values()
            if (e["large"], e["metric"]) == (model, metric)
            and not METRICS[self.config["metrics"][metric]["type"]].precomputed
        )

    def weights(self, model: str) -> list[str]:
        """Local files of a model (or of its translations); the hub's are pinned by a revision."""
        path = Path(self.config["models"][model]["path"])
        if path.is_file():
            return [str(path)]
        return sorted(str(f) for f in path.glob("*.*")) if path.is_dir() else []

    def scores_file(self, metric: str) -> list[str]:
        """File of precomputed scores; nothing for a metric that is computed."""
        spec = self.config["metrics"][metric]
        return [spec["path"]] if METRICS[spec["type"]].precomputed else []

    def segments(self, experiment: str, role: str) -> list[str]:
        """Segments of an experiment's train, valid or test sets."""
        return self._each("data/segments/{}/{}.parquet", experiment, role)

    # --- translations and labels ---------------------------------------------------------------

    def hypotheses(self, experiment: str, role: str) -> list[str]:
        """Translations of both models."""
        spec = self.config["experiments"][experiment]
        pattern = "results/hypotheses/{}/{{}}/{{}}.parquet"
        return [
            path
            for size in ("small", "large")
            for path in self._each(pattern.format(spec[size]), experiment, role)
        ]

    def gains(self, experiment: str, role: str) -> list[str]:
        """Gain labels."""
        return self._each(self._gains(experiment), experiment, role)

    def gains_of(self, experiment: str, dataset: str, direction: str) -> str:
        """Gain labels of one dataset and direction."""
        return self._gains(experiment).format(dataset, direction)

    def _gains(self, experiment: str) -> str:
        spec = self.config["experiments"][experiment]
        pair = f"{spec['metric']}/{spec['small']}--{spec['large']}"
        return f"results/gains/{pair}/{{}}/{{}}.parquet"

    def signals_of(self, experiment: str, dataset: str, direction: str) -> str:
        """The small model's signals on one dataset and direction."""
        small = self.config["experiments"][experiment]["small"]
        return f"results/signals/{small}/{dataset}/{direction}.parquet"

    # --- routers and results -------------------------------------------------------------------

    def base_weights(self, experiment: str, router: str) -> list[str]:
        """Local files of the small model, if the router reads them."""
        if "model" not in self.router(router).needs:
            return []
        return self.weights(self.config["experiments"][experiment]["small"])

    def artifact(self, experiment: str, router: str, seed: str | int) -> list[str]:
        """Folder of a trained router; nothing for one that is not trained."""
        if not self.router(router).trained:
            return []
        return [f"results/runs/{experiment}/routers/{router}/seed{seed}"]

    def predictions(self, experiment: str) -> list[str]:
        """Priorities of every router, seed, test set and direction."""
        return [
            path
            for router in self.config["experiments"][experiment]["routers"]
            for seed in router_seeds(self.config, experiment, router)
            for path in self._each(
                f"results/runs/{experiment}/predictions/{router}/seed{seed}/{{}}/{{}}.parquet",
                experiment,
                "test",
            )
        ]

    def overlaps(self, experiment: str) -> str:
        """Training and validation rows whose text is in held-out data."""
        return f"results/runs/{experiment}/overlaps.parquet"

    def removed(self, experiment: str) -> list[str]:
        """Table of the rows that routers must not learn from; nothing if they are only counted."""
        action = self.config["experiments"][experiment]["contamination"]["action"]
        return [self.overlaps(experiment)] if action == "remove" else []

    def tables(self, experiment: str) -> list[str]:
        """Tables of the data and of the evaluation."""
        folder = f"results/runs/{experiment}/tables"
        return [f"{folder}/{table}.parquet" for table in (*DATA_TABLES, *TABLES)]

    def figures(self, experiment: str) -> list[str]:
        """Figures, the PDF of each."""
        return [f"results/runs/{experiment}/figures/{figure}.pdf" for figure in FIGURES]

    # --- the whole -----------------------------------------------------------------------------

    def every(self, stage: str) -> list[str]:
        """Every file of a stage, over all experiments, each once."""
        one = getattr(self, stage)
        by_role = stage in ("segments", "hypotheses", "gains")
        return _distinct(
            path
            for experiment in self.experiments
            for paths in ([one(experiment, r) for r in ROLES] if by_role else [one(experiment)])
            for path in paths
        )

    def _each(self, pattern: str, experiment: str, role: str) -> list[str]:
        return [pattern.format(*s) for s in dataset_directions(self.config, experiment, role)]


def _distinct(paths: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(paths))
