"""Which files an experiment consists of: the paths of the workflow, as functions of the config."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import product
from pathlib import Path
from shlex import quote

from routelmt import stages
from routelmt.config import (
    ELSEWHERE,
    ROLES,
    ROUTERS_GROUP,
    Config,
    artifact,
    base_of,
    dataset_directions,
    experiment_routers,
    fetched_model,
    groups,
    in_model,
    references,
    router_seeds,
    scored_metrics,
    scores_files,
    source_folder,
    type_of,
)
from routelmt.data.published import reader_of
from routelmt.data.registry import READERS
from routelmt.evaluate.registry import (
    FLAGGED,
    OWN,
    POOL,
    SWEEP,
    SWEEP_TABLES,
    TABLES,
    TRANSFER,
    TableType,
)
from routelmt.figures.registry import FIGURES
from routelmt.page.registry import PAGE_TABLES
from routelmt.pool_config import pairs_of, pool_settings
from routelmt.routers.registry import RouterType, needs_of, router_module
from routelmt.score.registry import METRICS, command_files
from routelmt.settings import gain_routers, given_rates, is_timed, no_costs
from routelmt.translate.registry import ENGINES

MANY_FILES = 200


class Plan:
    """Paths by stage for a resolved config (see config.resolve)."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.experiments: list[str] = config["run"]

    # --- code and registry choices -------------------------------------------------------------

    def reader(self, dataset: str) -> str:
        """Module that reads a dataset."""
        return READERS[self.config["datasets"][dataset]["source"]].module

    def engine(self, model: str) -> str:
        """Module that decodes with a model, or reads what it has published."""
        spec = self.config["models"][model]
        return reader_of(spec) or ENGINES[spec["engine"]].module

    def scorer(self, metric: str) -> str:
        """Module that computes a metric, or reads what is published."""
        spec = self.config["metrics"][metric]
        return reader_of(spec) or METRICS[spec["type"]].module

    def engine_environment(self, model: str) -> str:
        """Environment that decoding with a model needs (see routelmt.environments)."""
        return ENGINES[self.config["models"][model]["engine"]].environment

    def scorer_environment(self, metric: str) -> str:
        """Environment that computing a metric needs."""
        return METRICS[self.config["metrics"][metric]["type"]].environment

    def router_environment(self, experiment: str, router: str) -> str:
        """Environment that asking a router needs: its engine's if it decodes."""
        decodes = self.router(router).decodes
        return self.engine_environment(self.base(experiment, router)) if decodes else ""

    def base(self, experiment: str, router: str) -> str:
        """The model that a router reads, if it reads one."""
        return base_of(self.config, self.config["experiments"][experiment], router)

    def router(self, router: str) -> RouterType:
        """What the type of a router declares."""
        return type_of(self.config, router)

    def router_module(self, router: str) -> str:
        """Module of a router's type."""
        return router_module(self.config["routers"][router]["type"])

    def needs(self, router: str) -> frozenset[str]:
        """What a router needs beside the segments."""
        return needs_of(self.config["routers"][router])

    def code(self, stage: str, kind: str = "") -> str:
        """What the code of a stage is known by."""
        return stages.identity(stage, kind)

    def prediction_code(self, experiment: str, router: str) -> list[str]:
        """The same of a router's predictions: of one that decodes, the engine's too."""
        code = [self.code("predictions", self.router_module(router))]
        if self.router(router).decodes:
            engine = self.engine(self.base(experiment, router))
            code.append(self.code("hypotheses", engine))
        return code

    # --- data ----------------------------------------------------------------------------------

    def source(self, name: str) -> str:
        """Folder of a source in upstream's layout: the user's own, or where it is fetched to."""
        return source_folder(self.config, name)

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
        entries = [e for key in ("models", "metrics", "routers") for e in self.config[key].values()]
        names += [entry["origin"] for entry in entries if reader_of(entry)]
        models = (fetched_model(self.config, entry.get("path")) for entry in entries)
        names += filter(None, models)
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
            if e["large"] == model
            and metric in scored_metrics(self.config, e)
            and not METRICS[self.config["metrics"][metric]["type"]].precomputed
        )

    def required_scores(self, dataset: str) -> list[str]:
        """Files whose scores a dataset's segments must have, if it drops the others."""
        if self.config["datasets"][dataset]["unscored"] != "drop":
            return []
        return _distinct(spec["path"] for spec in scores_files(self.config, dataset).values())

    def weights(self, model: str) -> list[str]:
        """Local files of a model (or of its translations); the hub's are pinned by a revision."""
        spec = self.config["models"][model]
        path = Path(spec["path"])
        whole = path.is_file() or ENGINES[spec["engine"]].precomputed
        if whole or fetched_model(self.config, spec["path"]):
            return [str(path)]
        return sorted(str(f) for f in path.glob("*.*")) if path.is_dir() else []

    def metric_files(self, metric: str) -> list[str]:
        """Local files that shape a metric's scores: of precomputed ones, of a command."""
        spec = self.config["metrics"][metric]
        if METRICS[spec["type"]].precomputed:
            return [spec["path"]]
        return list(map(str, command_files(spec)))

    def segments(self, experiment: str, role: str) -> list[str]:
        """Segments of an experiment's train, valid or test sets."""
        return self._each("data/segments/{}/{}.parquet", experiment, role)

    # --- translations and labels ---------------------------------------------------------------

    def scores(self, experiment: str, size: str, role: str = "test") -> list[str]:
        """Scores of the small or of the large model's translations."""
        spec = self.config["experiments"][experiment]
        pattern = f"results/scores/{spec['metric']}/{spec[size]}/{{}}/{{}}.parquet"
        return self._each(pattern, experiment, role)

    def judged(self, stage: str, experiment: str) -> list[str]:
        """Hypotheses or scores of both models on all sets that are evaluated or calibrated on.

        With `leave_out` on those that routers are trained on too, since it leaves these rows out.
        """
        files = {"hypotheses": self.sized_hypotheses, "scores": self.scores}[stage]
        learned = self.leave_out(experiment) and self._trains(experiment)
        roles = ["test", ELSEWHERE, "valid", *(["train"] if learned else [])]
        sizes = ("small", "large")
        return _distinct(p for role in roles for s in sizes for p in files(experiment, s, role))

    def _trains(self, experiment: str) -> bool:
        routers = experiment_routers(self.config["experiments"][experiment])
        return any(self.router(router).trained for router in routers)

    def leave_out(self, experiment: str) -> list[str]:
        """Flags whose requests are left out."""
        flags: list[str] = self.config["experiments"][experiment]["leave_out"]
        return flags

    def flagged(self, experiment: str) -> list[str]:
        """Table of the requests that may be left out; nothing if none is."""
        spec = self.config["experiments"][experiment]
        if not spec["leave_out"]:
            return []
        return [f"results/runs/{pair}/flagged.parquet" for pair in pairs_of(experiment, spec)]

    def hypotheses(self, experiment: str, role: str) -> list[str]:
        """Translations of both models."""
        sizes = ("small", "large")
        return [p for size in sizes for p in self.sized_hypotheses(experiment, size, role)]

    def gains(self, experiment: str, role: str, metric: str | None = None) -> list[str]:
        """Gain labels, by the experiment's metric or another."""
        return self._each(self._gains(experiment, metric), experiment, role)

    def _gains(self, experiment: str, metric: str | None = None) -> str:
        spec = self.config["experiments"][experiment]
        pair = f"{metric or spec['metric']}/{spec['small']}--{spec['large']}"
        return f"results/gains/{pair}/{{}}/{{}}.parquet"

    def labels(self, experiment: str, router: str, role: str) -> list[str]:
        """Gain labels that a router is trained on."""
        return self.gains(experiment, role, self.config["routers"][router].get("label_metric"))

    def keeps_states(self, model: str) -> bool:
        """Whether a router of any experiment reads this model's states of every layer."""
        return any(
            "states" in self.needs(router) and self.base(name, router) == model
            for name, e in self.config["experiments"].items()
            for router in experiment_routers(e)
        )

    def models(self, with_states: bool) -> str:
        """Pattern of the models whose states of every layer are (or are not) kept."""
        names = [n for n in self.config["models"] if self.keeps_states(n) == with_states]
        return "|".join(map(re.escape, names)) or "(?!)"

    def metrics(self, mean: bool) -> str:
        """Pattern of the metrics that are (or are not) means of other metrics."""
        kinds = {name: METRICS[m["type"]] for name, m in self.config["metrics"].items()}
        names = [name for name, kind in kinds.items() if kind.composite == mean]
        return "|".join(map(re.escape, names)) or "(?!)"

    def parts(self, metric: str) -> list[str]:
        """Metrics that a mean is taken of."""
        return list(self.config["metrics"][metric]["of"])

    # --- routers and results -------------------------------------------------------------------

    def needed_for(self, experiment: str, router: str, need: str, role: str) -> list[str]:
        """Files of one need of a router for all sets of a role; none if it does not have it.

        Of sampled translations, the small model's files come before the large one's.
        """
        if need not in self.needs(router):
            return []
        spec = self.config["experiments"][experiment]
        small, metric, base = spec["small"], spec["metric"], self.base(experiment, router)
        own = self.config["routers"][router]
        metric = own["metric"] if need == "estimates" else own.get("label_metric") or metric
        place = "{}/{}.parquet"
        patterns = {
            "signals": [f"results/signals/{base}/{place}"],
            "states": [f"results/states/{base}/{{}}/{{}}.arrow"],
            "hypotheses": [f"results/hypotheses/{small}/{place}"],
            "estimates": [f"results/scores/{metric}/{small}/{place}"],
            "samples": [f"results/samples/{small}/{place}"],
            "sample_scores": [
                f"results/sample_scores/{metric}/{spec[size]}/{place}"
                for size in ("small", "large")
            ],
        }
        return [path for p in patterns[need] for path in self._each(p, experiment, role)]

    def known_gains(self, experiment: str, router: str, role: str) -> list[str]:
        """Gains that a router predicts from: only an oracle may see those of what it predicts."""
        oracle = "gains" in self.needs(router) and not self.router(router).trained
        return self.gains(experiment, role) if oracle else []

    def base_weights(self, experiment: str, router: str) -> list[str]:
        """Local files of the model that a router reads, if it does."""
        if "model" not in self.needs(router):
            return []
        return self.weights(self.base(experiment, router))

    def own_weights(self, router: str) -> list[str]:
        """Local files of an encoder that the router brings with it."""
        spec = self.config["routers"][router]
        named = [
            spec.get("path"),
            spec.get("encoder"),
            (spec.get("from_scratch") or {}).get("tokenizer"),
        ]
        paths = [name for name in named if isinstance(name, str)]
        fetched = [path for path in paths if fetched_model(self.config, path)]
        folders = [Path(path) for path in paths if path not in fetched and Path(path).is_dir()]
        return fetched + sorted(str(f) for folder in folders for f in folder.rglob("*.*"))

    def artifact(self, experiment: str, router: str, seed: str | int) -> list[str]:
        """Folder of a trained router; nothing for one that is not trained."""
        if not (self.router(router).trained or self.router(router).in_model):
            return []
        return [artifact(self.config, experiment, router, seed)]

    def in_model_artifacts(self, experiment: str, job: str) -> list[str]:
        """Folders of the routers that are asked in one pass, each once."""
        asked = in_model(self.config, experiment, job.partition("--")[0])[job]
        return _distinct(artifact(self.config, experiment, *pair) for pair in asked)

    def in_model_weights(self, experiment: str, job: str) -> list[str]:
        """Local files of the model that is read in a pass of adapters."""
        base = job.partition("--")[2] or self.config["experiments"][experiment]["small"]
        return self.weights(base)

    def trained_routers(self, experiment: str) -> list[str]:
        """Folders of all trained routers, without those that are trained for transfer alone."""
        by_group = groups(self.config["experiments"][experiment])
        routers = _distinct(r for name, g in by_group.items() if name != TRANSFER for r in g)
        return _distinct(
            path
            for router in routers
            for seed in router_seeds(self.config, experiment, router)
            for path in self.artifact(experiment, router, seed)
        )

    def predictions(self, experiment: str, role: str) -> list[str]:
        """Priorities of every router of the experiment and seed, on the sets of a role."""
        return self.group_predictions(experiment, "routers", role)

    def group_predictions(self, experiment: str, group: str, role: str) -> list[str]:
        """Priorities of a group of routers: of those asked in one pass, one file for all."""
        names = groups(self.config["experiments"][experiment])[group]
        together = in_model(self.config, experiment, group)
        folder = f"results/runs/{experiment}/predictions"
        alone = [r for r in names if not self.router(r).in_model]
        return [
            *(f"{folder}/in_model/{job}/{role}.parquet" for job in together),
            *(path for r in alone for path in self.router_predictions(experiment, r, role)),
        ]

    def router_predictions(self, experiment: str, router: str, role: str) -> list[str]:
        """Priorities of one router that is asked on its own."""
        folder = f"results/runs/{experiment}/predictions/{router}"
        seeds = router_seeds(self.config, experiment, router)
        return [f"{folder}/seed{seed}/{role}.parquet" for seed in seeds]

    def held_out(self, experiment: str) -> list[str]:
        """Segments that routers must not have been trained on."""
        return [p for role in ("test", ELSEWHERE) for p in self.segments(experiment, role)]

    def table_inputs(self, experiment: str, table: str) -> dict[str, list[str]]:
        """Files that a table is made of, by input (see evaluate.registry)."""
        kind = TABLES[table]
        return {name: self._table_input(experiment, name, kind) for name in kind.reads}

    def sweep_inputs(self, experiment: str, sweep: str) -> dict[str, list[str]]:
        """Files that the table of a sweep is made of, by input."""
        files = {"predictions": self.derived_predictions(experiment, sweep)}
        kind = SWEEP_TABLES[SWEEP]
        rest = (name for name in kind.reads if name not in files)
        return files | {name: self._table_input(experiment, name, kind) for name in rest}

    def _table_input(self, experiment: str, name: str, kind: TableType) -> list[str]:
        elsewhere = kind.elsewhere and self.config["experiments"][experiment][ELSEWHERE]
        roles = ["test", ELSEWHERE] if elsewhere else ["test"]
        files: dict[str, Callable[[], list[str]]] = {
            "predictions": lambda: (
                self.derived_predictions(experiment, kind.of)
                if kind.of != OWN
                else [p for role in roles for p in self.predictions(experiment, role)]
            ),
            "gains": lambda: [p for role in roles for p in self.gains(experiment, role)],
            "segments": lambda: [p for role in roles for p in self.segments(experiment, role)],
            "other_gains": lambda: self.other_gains(experiment, kind.settings),
            "calibration_predictions": lambda: self.predictions(experiment, "valid"),
            "calibration_gains": lambda: self.gains(experiment, "valid"),
            "hypotheses_small": lambda: self._translated(experiment, "small", kind),
            "hypotheses_large": lambda: self._translated(experiment, "large", kind),
            "scores_small": lambda: self.scores(experiment, "small"),
            "scores_large": lambda: self.scores(experiment, "large"),
            "rates": lambda: (
                self.pool_rates(experiment) if POOL in kind.when else self.rates(experiment)
            ),
            "hypotheses": lambda: self.judged("hypotheses", experiment),
            "scores": lambda: self.judged("scores", experiment),
            FLAGGED: lambda: self.flagged(experiment),
            "train": lambda: self.segments(experiment, "train"),
            "valid": lambda: self.segments(experiment, "valid"),
            "test": lambda: self.held_out(experiment),
            "overlaps": lambda: [self.overlaps(experiment)],
            "routers": lambda: self.trained_routers(experiment),
            "pool_scores": lambda: self.pool_scores(experiment),
            "signal_predictions": lambda: self.signal_predictions(experiment),
            **self._pool_inputs(experiment),
        }
        return files[name]()

    def pool_scores(self, experiment: str) -> list[str]:
        """Scores of every system of the atlas by every of its metrics."""
        atlas = self.config["experiments"][experiment]["atlas"]
        return [
            path
            for metric in atlas["metrics"]
            for model in atlas["models"]
            for path in self._each(
                f"results/scores/{metric}/{model}/{{}}/{{}}.parquet", experiment, "test"
            )
        ]

    def signal_predictions(self, experiment: str) -> list[str]:
        """Priorities of the atlas's signals, which are routers of the experiment."""
        signals = self.config["experiments"][experiment]["atlas"]["signals"]
        alone = [r for r in signals if not self.router(r).in_model]
        folder = f"results/runs/{experiment}/predictions"
        return [
            *([f"{folder}/in_model/routers/test.parquet"] if len(alone) < len(signals) else []),
            *(path for r in alone for path in self.router_predictions(experiment, r, "test")),
        ]

    def _pool_inputs(self, experiment: str) -> dict[str, Callable[[], list[str]]]:
        """Inputs of the tables about a pool: by pair, or by model."""
        spec = self.config["experiments"][experiment]
        about = pool_settings(self.config, spec, []) if spec["models"] else {}
        by_model = "results/{}/{}/{{}}/{{}}.parquet"

        def each(stage: str) -> list[str]:
            patterns = [by_model.format(stage, model) for model in about["models"]]
            return [path for p in patterns for path in self._each(p, experiment, "test")]

        return {
            "pool_gains": lambda: [
                p for e in pairs_of(experiment, spec) for p in self.gains(e, "test")
            ],
            "pool_predictions": lambda: [
                path
                for pair in pairs_of(experiment, spec)
                for path in _distinct(
                    path
                    for router in about["routers"]
                    for path in (
                        [f"results/runs/{pair}/predictions/in_model/{ROUTERS_GROUP}/test.parquet"]
                        if self.router(router).in_model
                        else self.router_predictions(pair, router, "test")
                    )
                )
            ],
            "pool_hypotheses": lambda: [] if about["unit"] == "stated" else each("hypotheses"),
            "pool_other_gains": lambda: [
                p
                for e in pairs_of(experiment, spec)
                for p in self.other_gains(e, ["judge_metrics"])
            ],
            "pool_estimates": lambda: (
                each(f"scores/{about['estimate']}") if about["estimate"] else []
            ),
        }

    def _translated(self, experiment: str, size: str, kind: TableType) -> list[str]:
        """Translations of a size; none where only their cost counts and no rates are known."""
        unpriced = "rates" in kind.reads and not self.rates(experiment)
        return [] if unpriced else self.sized_hypotheses(experiment, size, "test")

    def derived_predictions(self, experiment: str, group: str) -> list[str]:
        """Priorities of a group of derived routers, and of chance and the gain oracle beside."""
        lines = references(self.config, self.config["experiments"][experiment])
        return [
            *self.group_predictions(experiment, group, "test"),
            *(path for r in lines for path in self.router_predictions(experiment, r, "test")),
        ]

    def sweeps(self, experiment: str) -> list[str]:
        """Table, its view and figure of every sweep."""
        folder = f"results/runs/{experiment}/sweeps"
        spec = self.config["experiments"][experiment]
        return [
            f"{folder}/{name}.{end}" for name in spec["sweeps"] for end in ("parquet", "csv", "pdf")
        ]

    def overlaps(self, experiment: str) -> str:
        """Training and validation rows whose text is in held-out data."""
        return f"results/runs/{experiment}/overlaps.parquet"

    def removed(self, experiment: str) -> list[str]:
        """Table of the rows that routers must not learn from; nothing if they are only counted."""
        action = self.config["experiments"][experiment]["contamination"]["action"]
        return [self.overlaps(experiment)] if action == "remove" else []

    def table_names(self, experiment: str) -> list[str]:
        """Tables that an experiment has all for."""
        return [
            name
            for name, kind in TABLES.items()
            if all(self._has(experiment, what) for what in kind.when)
        ]

    def _has(self, experiment: str, what: str) -> bool:
        """Whether an experiment has what a table asks for (`when` in evaluate.registry)."""
        spec = self.config["experiments"][experiment]
        if what == "guards":
            return bool(spec["guards"]["rank"] and spec["guards"]["signals"])
        asked: dict[str, Callable[[], object]] = {
            POOL: lambda: spec["models"],
            "trained": lambda: self.trained_routers(experiment),
            "gain_routers": lambda: gain_routers(self.config, spec),
            "rates": lambda: self.rates(experiment),
            TRANSFER: lambda: TRANSFER in groups(spec),
        }
        return bool(asked[what]() if what in asked else spec[what])

    def rates(self, experiment: str) -> list[str]:
        """Files with the rates of an experiment; none unless those of both models are to be had."""
        spec = self.config["experiments"][experiment]
        if no_costs(self.config, spec):
            return []
        bases = [self.base(experiment, r) for r in spec["routers"]]
        models = _distinct([spec["small"], spec["large"], *bases])
        timed = [m for m in models if is_timed(self.config, m)]
        own = given_rates(self.config, spec) or self.trained_routers(experiment)
        return [
            *(f"results/rates/{model}.parquet" for model in timed),
            *([f"results/runs/{experiment}/rates.parquet"] if own else []),
        ]

    def pool_rates(self, experiment: str) -> list[str]:
        """Files with the rates of all models of a pool, and of its routers."""
        spec = self.config["experiments"][experiment]
        return _distinct(path for pair in pairs_of(experiment, spec) for path in self.rates(pair))

    def timing_segments(self, model: str) -> list[str]:
        """Test segments of the first experiment that a model belongs to: what it is timed on."""
        for name, spec in self.config["experiments"].items():
            bases = (self.base(name, router) for router in spec["routers"])
            if model in (spec["small"], spec["large"], *bases):
                return self.segments(name, "test")
        return []

    def sized_hypotheses(self, experiment: str, size: str, role: str) -> list[str]:
        """Translations of the small or of the large model."""
        model = self.config["experiments"][experiment][size]
        return self._each(f"results/hypotheses/{model}/{{}}/{{}}.parquet", experiment, role)

    def other_gains(self, experiment: str, names: Sequence[str]) -> list[str]:
        """Gains on the test sets by the metrics that these settings of the experiment name."""
        spec = self.config["experiments"][experiment]
        named = [key for key in ("judge_metrics", "raters") if key in names]
        metrics = _distinct(metric for key in named for metric in spec[key])
        return [path for metric in metrics for path in self.gains(experiment, "test", metric)]

    def tables(self, experiment: str) -> list[str]:
        """Files of the tables."""
        folder = f"results/runs/{experiment}/tables"
        return [f"{folder}/{table}.parquet" for table in self.table_names(experiment)]

    def views(self, experiment: str) -> list[str]:
        """What readers want of every table, the CSV of each."""
        return [path.removesuffix("parquet") + "csv" for path in self.tables(experiment)]

    def figures(self, experiment: str) -> list[str]:
        """Figures of the tables that the experiment has, the PDF of each."""
        names = set(self.table_names(experiment))
        drawn = [name for name, figure in FIGURES.items() if names.issuperset(figure.tables)]
        return [f"results/runs/{experiment}/figures/{figure}.pdf" for figure in drawn]

    def page_tables(self, experiment: str) -> list[str]:
        """Files of the tables that the page shows."""
        names = set(self.table_names(experiment))
        folder = f"results/runs/{experiment}/tables"
        return [f"{folder}/{table}.parquet" for table in PAGE_TABLES if table in names]

    def page(self, experiment: str) -> list[str]:
        """The page: one HTML file."""
        return [f"results/runs/{experiment}/page.html"]

    # --- the whole -----------------------------------------------------------------------------

    def every(self, stage: str) -> list[str]:
        """Every file of a stage, over all experiments, each once."""
        one = getattr(self, stage)
        roles: tuple[tuple[str, ...], ...] = ((),)
        if stage in ("segments", "hypotheses", "gains"):
            roles = tuple((role,) for role in (*ROLES, ELSEWHERE))
        elif stage == "predictions":
            roles = (("test",),)
        return _distinct(path for e in self.experiments for role in roles for path in one(e, *role))

    def _each(self, pattern: str, experiment: str, role: str) -> list[str]:
        return [pattern.format(*s) for s in dataset_directions(self.config, experiment, role)]


def short(files: Sequence[str]) -> list[str]:
    """Paths as words of a shell: many of results/scores/METRIC/MODEL/... in braces, if all are.

    A shell is given its script as one argument, of which Linux takes 128 KiB: the scores of a large
    pool of systems are more.
    """
    parts = [list(dict.fromkeys(p)) for p in zip(*(f.split("/", 4) for f in files), strict=False)]
    if len(files) < MANY_FILES or ["/".join(p) for p in product(*parts)] != list(files):
        return [quote(file) for file in files]
    words = ([quote(name) for name in part] for part in parts)
    return ["/".join(w[0] if len(w) == 1 else f"{{{','.join(w)}}}" for w in words)]


def _distinct(paths: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(paths))
