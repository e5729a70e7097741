"""Linear probes on the small model's frozen states: no prefill beyond the translation's own.

ProbeDirichlet (PD) and its baselines, and ours, `mix`: a learned mix of layers that predicts gain.

| layers | score of | source |
|---|---|---|
| final | the last layer's state of the last prompt token | PD probe-final |
| mean | the mean over layers of the token means | PD probe-mean |
| dirichlet | layers weighted by a Dirichlet, one set of concentrations | PD ProbeDirichlet |
| dirichlet-input | the same, concentrations from the mean of the token embeddings | PD's text |
| mix | layers weighted by a softmax, learned | ours |
| stacked | all layers side by side, a weight for every number; by ridge regression alone | ours |

`fit: ridge` solves for the weights instead of descending to them, shared and crossed with the
direction (see `training.ridge`); no chance plays a part in it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from routelmt.device import find_device
from routelmt.errors import UserError
from routelmt.routers.artifact import (
    CURE,
    atomic_folder,
    base_of,
    open_record,
    read_tensors,
    write_record,
)
from routelmt.routers.inputs import Priorities, RouterContext, RouterInputs
from routelmt.routers.networks.base_model import load_base, model_folder, weights_hash
from routelmt.routers.networks.prompt_rows import PromptReader
from routelmt.routers.networks.regressor import pad_right
from routelmt.routers.objective.readout import Answers, Readout
from routelmt.routers.objective.targets import SAMPLED_LABELS, TARGETS, FloatArray, labels
from routelmt.routers.registry import RouterType, costs_of
from routelmt.routers.training import probe_card
from routelmt.routers.training.card import card
from routelmt.routers.training.ridge import alphas_of, own_column, places
from routelmt.routers.training.run import rows_record
from routelmt.routers.training.validation import routing_metrics
from routelmt.states import Pool, States, difference
from routelmt.translate.batches import token_batches
from routelmt.translate.layer_states import LayerPooling, LayerStates

if TYPE_CHECKING:
    from routelmt.routers.networks.probe_model import FoldedProbe, Layers, Vectors
    from routelmt.routers.training.fitting import FitState
    from routelmt.routers.training.probe_fit import ProbeRows

ROUTER = RouterType(
    trained=True,
    needs=frozenset({"states"}),
    needs_if=SAMPLED_LABELS,
    seeded=True,
    unseeded_if=frozenset({("fit", "ridge")}),
    costs=("shared_prefill",),
)
FILE = "probe.safetensors"
# By how the weights are found.
LAYERS = {
    "descent": ("final", "mean", "dirichlet", "dirichlet-input", "mix"),
    "ridge": ("final", "mean", "stacked"),
}
PACKAGES = ("torch", "transformers", "tokenizers")


# --- training ------------------------------------------------------------------------------------


def train(
    spec: Mapping[str, Any],
    training: RouterInputs,
    validation: RouterInputs,
    context: RouterContext,
    out: Path,
) -> dict[str, Any]:
    """Train the probe that `spec` describes and leave it in the folder `out`; returns its record.

    spec: the `probe` entry of the config, defaults filled in. Of a list of learning rates, or of
    alphas, the one with the lowest validation loss is kept. Always on the CPU, in little memory.
    Raises UserError where there are no states, or states of another model, where there is nothing
    to learn from, and where every training diverges.
    """
    import torch

    from routelmt.routers.networks import probe_model
    from routelmt.routers.training.probe_fit import ProbeRows, fit_probe

    check(spec)
    torch.set_num_threads(max(1, context.speed["threads"] - 1))  # one more reads the states
    found = labels(spec, training, validation)
    readout = Readout.of(spec, found.training)
    states = [_states_of(inputs, spec["type"]) for inputs in (training, validation)]
    _check_states(states, context.model)
    record = _record(spec, states[0], context, sorted(set(training.directions)))
    record |= readout.as_record() | found.record()
    record["rows"] = {
        "training": rows_record(training, found.training),
        "validation": rows_record(validation, found.validation),
    }
    data, valid = (
        ProbeRows(probe_model.features(s, spec["layers"], pool_of(spec)), readout.scaled(label))
        for s, label in zip(states, (found.training, found.validation), strict=True)
    )
    if spec["fit"] == "ridge":
        rows = (training.directions, data), (validation.directions, valid)
        folded, fits, fields = _solve(spec, record["directions"], *rows)
    else:
        folded, fits, fields = fit_probe(spec, data, valid, found.training, context.seed)
    record |= fields | _reached(folded, record, valid, readout, validation)
    record["about"] = probe_card.about(record, FILE)
    with atomic_folder(out) as folder:
        _write(folder, folded, record, fits)
    return record


def pool_of(spec: Mapping[str, Any]) -> Pool:
    """Which states are read: of the last token or of their mean; PD's by default."""
    pool: Pool = spec.get("pool") or ("last" if spec["layers"] == "final" else "mean")
    return pool


def check(spec: Mapping[str, Any]) -> None:
    """Raise UserError for settings that do not go together."""
    layers, fit = spec["layers"], spec["fit"]
    if layers == "dirichlet-input" and pool_of(spec) == "last":
        raise UserError(
            "'layers: dirichlet-input' reads the mean of the embeddings; 'pool: last' would give "
            "it the template's last token, the same for every text. Leave 'pool' out."
        )
    if fit == "ridge" and not TARGETS[spec["target"]].points:
        raise UserError(
            f"'fit: ridge' predicts points, not 'target: {spec['target']}'; set 'target: gain' or "
            "'quality_small'."
        )
    if layers not in LAYERS[fit]:
        allowed = ", ".join(LAYERS[fit])
        raise UserError(f"'fit: {fit}' cannot have 'layers: {layers}'; it can have {allowed}.")


def _states_of(inputs: RouterInputs, router: str) -> States:
    if inputs.states is None:
        raise UserError(
            f"router '{router}' reads the small model's states: give it --states (in training "
            "--train-states and --valid-states); `python -m routelmt signals --states` makes them."
        )
    states: States = inputs.states
    return states


def _check_states(states: Sequence[States], model: Mapping[str, Any]) -> None:
    """Raise UserError unless training's and validation's states are of this one model."""
    one, other = states
    if (one.layers, one.hidden) != (other.layers, other.hidden):
        raise UserError(
            f"the training rows' states are of {one.layers} layers of {one.hidden}, the validation "
            f"rows' of {other.layers} layers of {other.hidden}: they are of different models."
        )
    for about, settings in (("validation rows'", other.model), ("small model's", model)):
        found = difference(one.model, settings)
        if found:
            raise UserError(f"the training rows' states are not the {about}: {found}.")


def _solve(
    spec: Mapping[str, Any], known: Sequence[str], *parts: tuple[Sequence[str], ProbeRows]
) -> tuple[FoldedProbe, dict[float, FitState], dict[str, Any]]:
    """(the probe by ridge regression, no trainings, fields of the record).

    parts: directions and rows of training and validation.
    """
    from routelmt.routers.training import probe_ridge

    training, validation = (
        probe_ridge.CrossedRows(rows.features, places(directions, known), rows.targets[:, 0])
        for directions, rows in parts
    )
    folded, result = probe_ridge.fit(training, validation, alphas_of(spec), spec["standardise"])
    return folded, {}, {"result": result}


# --- the artifact --------------------------------------------------------------------------------


def _record(
    spec: Mapping[str, Any], states: States, context: RouterContext, directions: list[str]
) -> dict[str, Any]:
    """What shapes the router beside rows and readout, as router.json has it."""
    model = {**states.model, **context.model}
    return {
        "type": spec["type"],
        "layers": spec["layers"],
        "pool": pool_of(spec),
        "fit": spec["fit"],
        "states": {"layers": states.layers, "hidden": states.hidden},
        "prompt": model["prompt"],
        "prompt_fingerprint": _reader(model, context.languages).fingerprint(),
        "languages": dict(context.languages),
        "directions": directions,
        "base": {
            "path": model["path"],
            "revision": model.get("revision"),
            "weights_sha256": _weights(model),
        },
        "dtype": model["dtype"],
        "max_length": model["max_prompt_tokens"],
        "hyperparameters": dict(spec),
        "seed": context.seed,
        "provenance": dict(context.provenance),
        "packages": {name: metadata.version(name) for name in PACKAGES},
    }


def _weights(model: Mapping[str, Any]) -> str:
    try:
        return weights_hash(model_folder(model["path"], model.get("revision")))
    except OSError as error:
        raise UserError(
            f"small model '{model['path']}': its weights cannot be read ({error}). The router "
            "keeps their hash, so that it is never used with others."
        ) from None


def _reader(model: Mapping[str, Any], languages: Mapping[str, str]) -> PromptReader:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            model["path"], revision=model.get("revision"), trust_remote_code=False,
            local_files_only=Path(model["path"]).is_dir(),
        )  # fmt: skip
    except (OSError, ValueError) as error:
        raise UserError(
            f"small model '{model['path']}': its tokenizer cannot be loaded: {error}"
        ) from None
    return PromptReader(tokenizer, model["prompt"], languages, model["max_prompt_tokens"])


def _reached(
    folded: FoldedProbe,
    record: Mapping[str, Any],
    valid: ProbeRows,
    readout: Readout,
    validation: RouterInputs,
) -> dict[str, Any]:
    """`validation` and `cost` of the record."""
    start = time.monotonic()
    outputs = _scores(folded, valid.features)
    seconds = time.monotonic() - start
    outputs = _own(outputs, record, validation.directions)
    _, priority = readout.priorities(readout.answers(outputs))
    return {
        "validation": routing_metrics(validation, priority),
        "cost": {
            "terms": costs_of(record["hyperparameters"]),
            "milliseconds": 1000 * seconds / validation.rows,
            "device": "cpu",
        },
    }


def _scores(folded: FoldedProbe, features: Vectors | Layers) -> FloatArray:
    from routelmt.routers.networks.probe_model import runs

    return np.concatenate([folded.scores(h) for _, h in features.batches(runs(features.rows))])


def _own(outputs: FloatArray, record: Mapping[str, Any], directions: Sequence[str]) -> FloatArray:
    """Outputs (rows, 1): of a probe that is crossed with the direction, those of each row's."""
    if record.get("fit") != "ridge":
        return outputs
    return own_column(outputs, places(directions, record["directions"]))


def _write(
    folder: Path, folded: FoldedProbe, record: dict[str, Any], fits: Mapping[float, FitState]
) -> None:
    """Fill the router's folder: weights, record, history, card."""
    from safetensors.torch import save_file

    from routelmt.routers.training.fitting import write_history

    save_file(folded.tensors(), folder / FILE)
    write_record(folder, record)
    write_history(folder, fits)
    (folder / "README.md").write_text(card(record), encoding="utf-8")


def _load(artifact: Path) -> tuple[dict[str, Any], FoldedProbe]:
    """(record, probe) of a router's folder; UserError if it is not whole."""
    from routelmt.routers.networks.probe_model import FoldedProbe

    record = open_record(artifact)
    scores = 1 + len(record["directions"]) if record.get("fit") == "ridge" else 1
    shape = record["states"]["layers"], record["states"]["hidden"]
    tensors = read_tensors(artifact / FILE)
    try:
        return record, FoldedProbe.of(tensors, scores, shape)
    except (TypeError, ValueError) as error:
        raise UserError(f"{artifact / FILE}: of another router ({error}); {CURE}.") from None


# --- using it ------------------------------------------------------------------------------------


def predict_trained(artifact: Path, inputs: RouterInputs, context: RouterContext) -> Priorities:
    """(prediction, priority) of each row, from its states.

    Raises UserError if there are none, or if they are not of the model it was trained on.
    """
    import torch

    from routelmt.routers.networks.probe_model import features

    torch.set_num_threads(max(1, context.speed["threads"] - 1))
    record, folded = _load(artifact)
    states = _states_of(inputs, record["type"])
    _check_same(artifact, record, states)
    data = features(states, record["layers"], record["pool"])
    readout = Readout.from_record(record)
    outputs = _own(_scores(folded, data), record, inputs.directions)
    return readout.priorities(readout.answers(outputs))


def _check_same(artifact: Path, record: Mapping[str, Any], states: States) -> None:
    trained = record["states"]
    if (states.layers, states.hidden) != (trained["layers"], trained["hidden"]):
        raise UserError(
            f"{artifact}: trained on states of {trained['layers']} layers of {trained['hidden']}, "
            f"given states of {states.layers} layers of {states.hidden}: of another model."
        )
    model = {**record["base"], "dtype": record["dtype"], "prompt": record["prompt"]}
    found = difference(model, states.model)
    if found:
        raise UserError(f"{artifact}: trained on states of another model: {found}.")


class ProbeRouter:
    """A trained probe with its base model loaded. `record` is its router.json."""

    def __init__(
        self, record: Mapping[str, Any], folded: FoldedProbe, reader: PromptReader, causal: Any,
        batch_tokens: int,
    ) -> None:  # fmt: skip
        self.record, self._folded, self._reader = record, folded, reader
        self._readout = Readout.from_record(record)
        self._decoder, self._device = causal.get_decoder(), causal.device
        self._pooling, self._batch_tokens = LayerPooling(self._decoder), batch_tokens
        self.cut: Any = None  # (n,) which of the last requests were read in part

    def score(self, directions: Sequence[str], sources: Sequence[str]) -> Priorities:
        """(prediction, priority) of each request, both of shape (n,)."""
        return self._readout.priorities(self.answers(directions, sources))

    def answers(self, directions: Sequence[str], sources: Sequence[str]) -> Answers:
        """All that the router predicts, by name, each (n,): one pass over each distinct prompt."""
        rows = self._reader.read(directions, sources)
        self.cut = rows.cut[rows.of_row]
        outputs = np.empty((len(rows.ids), len(self._folded.bias)))
        for batch in token_batches(rows.lengths, self._batch_tokens):
            outputs[batch] = self._scores(self._prefill([rows.ids[i] for i in batch]))
        return self._readout.answers(_own(outputs[rows.of_row], self.record, directions))

    def _prefill(self, prompts: Sequence[Sequence[int]]) -> LayerStates:
        import torch

        ids, last = (torch.from_numpy(a).to(self._device) for a in pad_right(prompts))
        with torch.inference_mode(), self._pooling.watching(last + 1):
            final = self._decoder(input_ids=ids, use_cache=False).last_hidden_state
            return self._pooling.pooled(final)

    def _scores(self, states: LayerStates) -> FloatArray:
        import torch

        found = torch.from_numpy(getattr(states, self.record["pool"])).float()
        if self.record["layers"] == "final":
            found = found[:, -1:]
        elif self.record["layers"] == "mean":
            found = found.mean(dim=1, keepdim=True)
        return self._folded.scores(found)


def open_trained(
    artifact: Path, speed: Mapping[str, Any], base: Mapping[str, Any] | None = None
) -> ProbeRouter:
    """Load a probe and its base model.

    base: path and revision of the base, if it is not where it was in training.
    Raises UserError if the folder is not a router, or the base or its tokenizer another one.
    """
    import torch

    torch.set_num_threads(speed["threads"])
    record, folded = _load(artifact)
    loaded = load_base(
        base or base_of(artifact, record), record["dtype"], find_device(speed["device"]),
        training=False, expected=record["base"]["weights_sha256"],
    )  # fmt: skip
    reader = PromptReader(
        loaded.tokenizer,
        record["prompt"],
        record["languages"],
        loaded.longest(record["max_length"]),
    )
    if reader.fingerprint() != record["prompt_fingerprint"]:
        raise UserError(
            f"{artifact}: the base model's tokenizer or chat template is not the one this router "
            "was trained with (the same prompt gives other tokens). Restore it, or train again."
        )
    return ProbeRouter(record, folded, reader, loaded.causal.eval(), speed["batch_tokens"])
