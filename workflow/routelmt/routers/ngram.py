"""Hashed character n-grams of the source, crossed with the direction: a linear router in seconds.

It sees the text and nothing of either model, so it is what a router that reads the small model has
to beat; with `features` it sees what else is known of a request. N-grams are scikit-learn's hashed
counts, weighed by rarity as in tf-idf, each row of length 1; beside them stand the other features,
standardised (see `features`). See `training.ridge` for the regression.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from routelmt.errors import UserError
from routelmt.routers.artifact import CURE, atomic_folder, open_record, read_tensors, write_record
from routelmt.routers.features import COSTS_IF, NEEDS_IF, OF_TEXT, Features
from routelmt.routers.features import check as check  # its settings
from routelmt.routers.inputs import Priorities, RouterContext, RouterInputs
from routelmt.routers.objective.readout import Answers, Readout
from routelmt.routers.objective.targets import FloatArray, labels
from routelmt.routers.registry import RouterType, costs_of
from routelmt.routers.training import ridge
from routelmt.routers.training.card import card
from routelmt.routers.training.run import rows_record
from routelmt.routers.training.validation import routing_metrics

ROUTER = RouterType(trained=True, needs=frozenset({"gains"}), needs_if=NEEDS_IF, costs_if=COSTS_IF)

WEIGHTS = "ngram.safetensors"
PACKAGES = ("numpy", "scipy", "scikit-learn")
SAMPLE = "Открыть file №2: «打开文件»?\n\tÀ la fin…"  # its features tell two hashings apart


# --- features ------------------------------------------------------------------------------------


def counted(spec: Mapping[str, Any], sources: Sequence[str]) -> Any:
    """How often each n-gram is in a text: sparse (rows, columns), float64.

    spec: `ngrams` [shortest, longest] and `columns`, how many they are hashed into.
    """
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import HashingVectorizer

    if not sources:  # scikit-learn wants one at least
        return csr_matrix((0, spec["columns"]))
    shortest, longest = spec["ngrams"]
    hashing = HashingVectorizer(
        analyzer="char", ngram_range=(shortest, longest), n_features=spec["columns"],
        lowercase=False, norm=None, alternate_sign=False, dtype=np.float64,
    )  # fmt: skip
    return hashing.transform(sources)


def rarities(parts: Sequence[Any]) -> npt.NDArray[np.float32]:
    """ln((1 + rows) / (1 + rows with the n-gram)) + 1 of each column of counts, (columns,)."""
    rows = sum(part.shape[0] for part in parts)
    having = sum(np.bincount(part.indices, minlength=part.shape[1]) for part in parts)
    rarity: npt.NDArray[np.float32] = (np.log((1 + rows) / (1 + having)) + 1).astype(np.float32)
    return rarity


def weighed(counts: Any, rarity: npt.NDArray[np.float32]) -> Any:
    """Counts times rarity, each row of length 1 (empty ones stay so); in place."""
    from scipy.sparse.linalg import norm

    counts.data *= rarity[counts.indices]
    counts.data /= np.repeat(norm(counts, axis=1), np.diff(counts.indptr))
    return counts


def beside(texts: Any, features: FloatArray) -> Any:
    """Sparse (rows, columns + features): n-grams, and then what else is known of each row."""
    from scipy.sparse import csr_matrix, hstack

    return hstack([texts, csr_matrix(features)], format="csr") if features.shape[1] else texts


def fingerprint(spec: Mapping[str, Any]) -> str:
    """SHA-256 of the counts of a fixed text: others would make the weights worthless."""
    counts = counted(spec, [SAMPLE])
    counts.sort_indices()
    return hashlib.sha256(
        counts.indices.astype("<i8").tobytes() + counts.data.astype("<f8").tobytes()
    ).hexdigest()


@dataclass(frozen=True)
class CrossedRows:
    """Features of the training rows, centred in each direction without filling their zeros.

    rows, parts: places (n_d,) and features (n_d, features) of each direction's rows. means:
    (directions, features). rarity: what the n-grams were weighed with, (columns,).
    """

    rows: list[npt.NDArray[np.int64]]
    parts: list[Any]
    means: FloatArray
    rarity: npt.NDArray[np.float32]

    @classmethod
    def of(
        cls, spec: Mapping[str, Any], inputs: RouterInputs, known: Sequence[str], more: FloatArray
    ) -> CrossedRows:
        """Of rows whose directions are `known`; more: their other features, (rows, features)."""
        names, sources = np.array(inputs.directions), inputs.sources
        rows = [np.flatnonzero(names == direction) for direction in known]
        parts = [counted(spec, [sources[i] for i in of_direction]) for of_direction in rows]
        rarity = rarities(parts)
        parts = [
            beside(weighed(part, rarity), more[i]) for i, part in zip(rows, parts, strict=True)
        ]
        means = np.concatenate([np.asarray(part.mean(axis=0)) for part in parts])
        return cls(rows, parts, means, rarity)

    def heads(self, dual: FloatArray) -> FloatArray:
        """w_0 + w_d of each direction, (directions, features), where w = A^T dual (rows,)."""
        own = np.empty_like(self.means)
        for d, (rows, part) in enumerate(zip(self.rows, self.parts, strict=True)):
            own[d] = part.T @ dual[rows] - self.means[d] * dual[rows].sum()
        own += own.sum(axis=0)
        return own

    def kernel(self, dual: FloatArray) -> FloatArray:
        """A A^T dual, (rows,): A has the centred features, those shared and those crossed."""
        found, heads = np.empty_like(dual), self.heads(dual)
        for d, (rows, part) in enumerate(zip(self.rows, self.parts, strict=True)):
            found[rows] = part @ heads[d] - self.means[d] @ heads[d]
        return found


@dataclass(frozen=True)
class Weights:
    """What is kept: rarity (columns,), heads (1 + directions, features), bias (1 + directions,).

    The first two are float32, the bias is float64. Row 0 is what all directions share.
    """

    rarity: npt.NDArray[np.float32]
    heads: npt.NDArray[np.float32]
    bias: FloatArray

    def outputs(self, features: Any, places: npt.NDArray[np.int64]) -> FloatArray:
        """Scores (rows, 1) of features; places: row of the heads for each."""
        found = np.empty((len(places), 1))
        for place in np.unique(places):
            rows = np.flatnonzero(places == place)
            head = self.heads[place].astype(np.float64)
            found[rows, 0] = features[rows] @ head + self.bias[place]
        return found


# --- training ------------------------------------------------------------------------------------


def train(
    spec: Mapping[str, Any],
    training: RouterInputs,
    validation: RouterInputs,
    context: RouterContext,
    out: Path,
) -> dict[str, Any]:
    """Fit the router that `spec` describes and leave it in the folder `out`; returns its record.

    spec: the `ngram` entry of the config, defaults filled in. Of a list of alphas the one with the
    lowest squared error on the validation rows is kept. The same rows give the same bytes.
    Raises UserError where there is nothing to learn from.
    """
    start = time.monotonic()
    found = labels(spec, training, validation)
    readout = Readout.of(spec, found.training)
    known = sorted(set(training.directions))
    alphas, more = ridge.alphas_of(spec), Features.of(spec, training)
    crossed = CrossedRows.of(spec, training, known, more.read(training))
    fits, solutions = fit(crossed, readout.scaled(found.training)[:, 0].astype(np.float64), alphas)
    places = ridge.places(validation.directions, known)
    read = time.monotonic()
    texts = weighed(counted(spec, validation.sources), crossed.rarity)
    features = beside(texts, more.read(validation))
    outputs = fits[0].outputs(features, places)
    milliseconds = 1000 * (time.monotonic() - read) / validation.rows
    held_out = readout.scaled(found.validation)
    errors = [float(np.mean((f.outputs(features, places) - held_out) ** 2)) for f in fits]
    best, result = ridge.choose(alphas, errors, solutions)
    outputs = fits[best].outputs(features, places)
    _, priority = readout.priorities(readout.answers(outputs))
    record = {
        "type": spec["type"],
        **readout.as_record(),
        **more.as_record(),
        "directions": known,
        "features_fingerprint": fingerprint(spec),
        "hyperparameters": dict(spec),
        "seed": context.seed,
        "provenance": dict(context.provenance),
        "rows": {
            "training": rows_record(training, found.training),
            "validation": rows_record(validation, found.validation),
        },
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "result": result | {"training_seconds": read - start},
        "validation": routing_metrics(validation, priority),
        "cost": {"terms": costs_of(spec), "milliseconds": milliseconds, "device": "cpu"},
        "about": about(more.names),
    }
    with atomic_folder(out) as folder:
        _write(folder, fits[best], record)
    return record


def fit(
    crossed: CrossedRows, targets: FloatArray, alphas: Sequence[float]
) -> tuple[list[Weights], ridge.Solutions]:
    """The ridge regression of targets (rows,), one for each alpha."""
    levels = np.array([targets[rows].mean() for rows in crossed.rows])
    centred = targets.copy()
    for rows, level in zip(crossed.rows, levels, strict=True):
        centred[rows] -= level
    solutions = ridge.solve(crossed.kernel, centred, alphas)
    counts = np.array([len(rows) for rows in crossed.rows]) / len(targets)
    means = np.concatenate(((counts @ crossed.means)[None], crossed.means))
    levels = np.concatenate(((counts @ levels)[None], levels))
    fits = []
    for dual in solutions.values:
        heads = ridge.with_shared(crossed.heads(dual)).astype(np.float32)
        bias = levels - (means * heads).sum(axis=1)
        fits.append(Weights(crossed.rarity, heads, bias))
    return fits, solutions


# --- the artifact --------------------------------------------------------------------------------


def about(features: Sequence[str]) -> dict[str, Any]:
    """What the card says of this type; features: those beside the text."""
    reads, known = "Reads the source text and the direction, nothing of either model.", ""
    if features:
        reads = f"Reads the source text and the direction, and beside them: {', '.join(features)}."
        known = (
            ", followed by the values that `features` of the record says, less `means` and divided "
            "by `deviations`,"
        )
    return {
        "title": "Character n-grams",
        "reads": reads,
        "method": "ridge regression on hashed character n-grams, shared and crossed with the "
        "direction; alpha chosen on the validation rows.",
        "loading": f"`{WEIGHTS}` holds `heads` and `bias`, one row for all directions, then one "
        "for each of `directions` in `router.json`. With x the counts of scikit-learn's "
        "HashingVectorizer (analyzer char, the record's `ngrams` and `columns`, lowercase, norm "
        f"and alternate_sign off) times `rarity`, divided by its length{known} the output is "
        "`heads[d] @ x + bias[d]`; the prediction is `shift + scale * output`.",
        "limits": [
            "It knows words, not their difficulty: on text with other words expect it near chance."
        ],
    }


def _write(folder: Path, weights: Weights, record: dict[str, Any]) -> None:
    """Fill the router's folder: weights, record, card."""
    from safetensors.numpy import save_file

    save_file(vars(weights), folder / WEIGHTS)
    write_record(folder, record)
    (folder / "README.md").write_text(card(record), encoding="utf-8")


def _load(artifact: Path, record: Mapping[str, Any]) -> Weights:
    """UserError unless the weights are whole and of the record's shape."""
    path = artifact / WEIGHTS
    if "columns" not in record["hyperparameters"]:
        raise UserError(f"{artifact}: an n-gram router of an earlier version; train it again.")
    width, rows = record["hyperparameters"]["columns"], 1 + len(record["directions"])
    weights = read_tensors(path, "np")
    more = len(record["features"]["means"])
    expected = {"rarity": (width,), "heads": (rows, width + more), "bias": (rows,)}
    shapes = {name: array.shape for name, array in weights.items()}
    if shapes != expected:
        raise UserError(
            f"{path}: holds {shapes}, router.json speaks of {expected}; they are of different "
            f"routers: {CURE}."
        )
    return Weights(**weights)


# --- using it ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NgramRouter:
    """A loaded router. `record` is its router.json."""

    record: Mapping[str, Any]
    weights: Weights

    def score(self, directions: Sequence[str], sources: Sequence[str]) -> Priorities:
        """(prediction, priority) of each request, both of shape (n,)."""
        return Readout.from_record(self.record).priorities(self.answers(directions, sources))

    def answers(self, directions: Sequence[str], sources: Sequence[str]) -> Answers:
        """What the router predicts, by name, (n,). UserError if it reads more than texts."""
        unknown = sorted(set(self.record["features"]["names"]).difference(OF_TEXT))
        if unknown:
            raise UserError(
                f"router of type ngram: it reads {', '.join(unknown)} of each request, and these "
                "have a direction and a source alone. Ask it in the workflow, or train one without."
            )
        columns = {"direction": list(directions), "source": list(sources)}
        text = {name: pa.array(values, pa.string()) for name, values in columns.items()}
        return self.read(RouterInputs(pa.table(text)))

    def read(self, inputs: RouterInputs) -> Answers:
        """The same of rows with all that the router reads."""
        places = ridge.places(inputs.directions, self.record["directions"])
        counts = counted(self.record["hyperparameters"], inputs.sources)
        more = Features.from_record(self.record).read(inputs)
        features = beside(weighed(counts, self.weights.rarity), more)
        return Readout.from_record(self.record).answers(self.weights.outputs(features, places))


def open_trained(
    artifact: Path, speed: Mapping[str, Any], base: Mapping[str, Any] | None = None
) -> NgramRouter:
    """Load a router; `speed` and `base` are those of routers that read a model.

    Raises UserError if the folder is not a router or damaged, or if texts are hashed differently.
    """
    record = open_record(artifact)
    weights = _load(artifact, record)
    if fingerprint(record["hyperparameters"]) != record["features_fingerprint"]:
        raise UserError(
            f"{artifact}: this version of scikit-learn hashes texts differently from the one this "
            f"router was trained with ({record['packages']['scikit-learn']}); train again."
        )
    return NgramRouter(record, weights)


def predict_trained(artifact: Path, inputs: RouterInputs, context: RouterContext) -> Priorities:
    """(prediction, priority) of each row; see `open_trained`."""
    router = open_trained(artifact, context.speed)
    return Readout.from_record(router.record).priorities(router.read(inputs))
