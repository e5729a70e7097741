"""Trained LoRA routers at work: one base model in memory, the adapters of several taking turns.

In float32 an adapter is merged into the weights for its turn (a third faster) and the saved
original weights are put back after it; in bfloat16, where rounding the sum would lose most of the
LoRA, it stands beside them and is taken off again. Either way the base is afterwards, bit for bit,
what it was before: what a router predicts does not depend on which others are asked.

Nor should it depend on the other requests of a batch. A router of bfloat16 is asked in float32 on
the CPU, which is as fast there: in bfloat16 predictions moved by up to 2.4e-3 of the labels'
deviation with the batch (600 requests, 4 layers), and by 2e-7 in float32.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from routelmt.device import find_device
from routelmt.errors import UserError
from routelmt.routers.artifact import CURE, open_record, read_tensors
from routelmt.routers.inputs import Priorities
from routelmt.routers.networks.base_model import BaseModel, keep_layers, load_base, other_weights
from routelmt.routers.networks.prompt_rows import PromptReader, PromptRows
from routelmt.routers.networks.regressor import PromptRegressor
from routelmt.routers.objective.losses import make_loss
from routelmt.routers.objective.readout import Answers, Readout
from routelmt.strict_json import cut

HEAD = "head.safetensors"
ADAPTER = "adapter_model.safetensors"


@dataclass(frozen=True)
class Artifact:
    """A trained router's folder, read but for its adapter: record, and the head's tensors."""

    path: Path
    record: Mapping[str, Any]
    head: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> Artifact:
        """Raises UserError unless record, head and adapter are there and whole."""
        record = open_record(path)
        if record["type"] != "lora":
            raise UserError(f"{path}: a router of type '{record['type']}', expected 'lora'.")
        head, _ = (read_tensors(path / name) for name in (HEAD, ADAPTER))
        found = cls(path, record, head)
        columns = make_loss({**record["hyperparameters"], "loss": found.readout.loss}).outputs
        shapes = {name: tuple(tensor.shape) for name, tensor in head.items()}
        weight = shapes.get("weight", ())
        if len(weight) != 2 or shapes != {"weight": (columns, weight[-1]), "bias": (columns,)}:
            raise UserError(
                f"{path / HEAD}: holds {shapes}, router.json speaks of a linear layer with "
                f"{columns} outputs; {CURE}."
            )
        return found

    @property
    def readout(self) -> Readout:
        """What its outputs mean."""
        return Readout.from_record(self.record)


class SharedBase:
    """A base model for several adapters, one of them attached at a time."""

    def __init__(
        self,
        model: Mapping[str, Any],
        first: Artifact,
        speed: Mapping[str, Any],
        layers: int | None,
    ) -> None:
        """model: path and revision. first: one of the routers; all must share its dtype.
        layers: how many any of them needs; None is all.

        Raises UserError if the base cannot be loaded, or is not the one `first` was trained on.
        """
        import torch

        torch.set_num_threads(speed["threads"])
        self.model, dtype = model, first.record["dtype"]
        self.device = find_device(speed["device"])
        self.base: BaseModel = load_base(
            model, dtype, self.device, training=False,
            expected=first.record["base"]["weights_sha256"], layers=layers,
        )  # fmt: skip
        self.dtype = precision(dtype, self.device)
        if self.dtype == "float32":
            self.base.causal.float()
        self._readers: dict[str, PromptReader] = {}
        self._rows: dict[str, PromptRows] = {}

    def reader(self, artifact: Artifact) -> PromptReader:
        """What turns requests into this router's prompts.

        Raises UserError if the tokenizer is not the one that the router was trained with.
        """
        record = artifact.record
        key = _reader_key(record)
        if key not in self._readers:
            self._readers[key] = PromptReader(
                self.base.tokenizer, record["prompt"], record["languages"],
                self.base.longest(record["max_length"]),
            )  # fmt: skip
        if self._readers[key].fingerprint() != record["prompt_fingerprint"]:
            raise UserError(
                f"{artifact.path}: the base model's tokenizer or chat template is not the one this "
                "router was trained with (the same prompt gives other tokens). Restore it, or "
                "train again."
            )
        return self._readers[key]

    def rows(
        self, artifact: Artifact, directions: Sequence[str], sources: Sequence[str]
    ) -> PromptRows:
        """The requests as this router reads them; tokenised once for all that read alike.

        Every call on one SharedBase must be for the same requests.
        """
        key, reader = _reader_key(artifact.record), self.reader(artifact)
        if key not in self._rows:
            self._rows[key] = reader.read(directions, sources)
        return self._rows[key]

    def attach(self, artifact: Artifact) -> PromptRegressor:
        """The router, ready to predict; for good (see `attached`)."""
        import torch
        from peft import PeftModel

        check_base(artifact, self.base, self.model["path"])
        decoder = self.base.causal.get_decoder()
        keep_layers(decoder, artifact.record.get("layer"), self.model["path"])
        width = artifact.head["weight"].shape[1]
        if width != self.base.hidden_size:
            raise UserError(
                f"{artifact.path / HEAD}: reads states of {width} units, base model "
                f"'{self.model['path']}' has {self.base.hidden_size}; {CURE}."
            )
        try:
            causal = PeftModel.from_pretrained(self.base.causal, artifact.path)
        except Exception as error:  # whatever peft makes of settings that it does not expect
            raise UserError(
                f"{artifact.path}: adapter_config.json and {ADAPTER} are no adapter of base model "
                f"'{self.model['path']}' ({cut(str(error))}); {CURE}."
            ) from None
        if self.dtype == "float32":
            causal = causal.merge_and_unload()
        weight = artifact.head["weight"]
        head = torch.nn.Linear(weight.shape[1], weight.shape[0], dtype=torch.float32)
        head.load_state_dict(dict(artifact.head))
        return PromptRegressor(causal, head.to(self.device), self.dtype, self.device)

    @contextmanager
    def attached(self, artifact: Artifact) -> Iterator[PromptRegressor]:
        """The router for a while; then the base as it was, bit for bit."""
        import torch

        decoder = self.base.causal.get_decoder()
        layers, count = decoder.layers, decoder.config.num_hidden_layers
        used = layers[: artifact.record.get("layer") or count]
        merges = self.dtype == "float32"
        # On the CPU: a GPU that holds the model need not hold it twice.
        saved = [(p, p.detach().to("cpu", copy=True)) for p in used.parameters()] if merges else []
        regressor = self.attach(artifact)
        try:
            yield regressor
        finally:
            if merges:
                with torch.no_grad():
                    for parameter, value in saved:
                        parameter.copy_(value)
            else:
                regressor.causal.unload()
            decoder.layers, decoder.config.num_hidden_layers = layers, count


def precision(dtype: str, device: str) -> str:
    """What a router that was trained in `dtype` is computed in on a device."""
    return "float32" if device == "cpu" else dtype


def check_base(artifact: Artifact, base: BaseModel, path: str) -> None:
    """Raise UserError unless `base`, loaded from `path`, is what the router was trained on."""
    expected = artifact.record["base"]["weights_sha256"]
    if expected != base.weights_sha256:
        message = other_weights(path, expected, base.weights_sha256)
        raise UserError(f"{artifact.path}: {message}")


def _reader_key(record: Mapping[str, Any]) -> str:
    """Routers with the same key read the same tokens."""
    parts = [record["prompt"], record["languages"], record["max_length"]]
    return json.dumps(parts, sort_keys=True)


class LoraRouter:
    """A trained router with its base model loaded. `record` is its router.json."""

    def __init__(self, artifact: Artifact, shared: SharedBase, batch_tokens: int) -> None:
        self.record, self.readout = artifact.record, artifact.readout
        self.reader, self.batch_tokens = shared.reader(artifact), batch_tokens
        self.regressor = shared.attach(artifact)
        self.cut: Any = None  # (n,) which of the last requests were read in part
        self._warned: set[str] = set()

    def answers(self, directions: Sequence[str], sources: Sequence[str]) -> Answers:
        """Everything that the router predicts of each request, by name; see `Readout`.

        The same request has the same answers wherever it stands: they are computed once.
        """
        new = set(directions) - self._warned
        self._warned |= warn_of_new_directions(self.record, new)
        rows = self.reader.read(directions, sources)
        self.cut = rows.cut[rows.of_row]
        outputs = self.regressor.predict(rows.ids, self.batch_tokens, "routing")
        return self.readout.answers(outputs[rows.of_row])

    def score(self, directions: Sequence[str], sources: Sequence[str]) -> Priorities:
        """(prediction in the target's unit, priority) of each request, both of shape (n,)."""
        return self.readout.priorities(self.answers(directions, sources))


def predict_together(
    artifacts: Sequence[Path],
    directions: Sequence[str],
    sources: Sequence[str],
    model: Mapping[str, Any],
    speed: Mapping[str, Any],
) -> list[Answers]:
    """The answers of each router to the same requests, and "prediction" and "priority".

    model: path and revision of their base, which is loaded once (once a precision, if they differ)
    and every distinct prompt passed through it once for every distinct router.
    Raises UserError as `Artifact.read`, `SharedBase.reader` and `check_base` do, before anything
    is computed.
    """
    routers = {path: Artifact.read(path) for path in artifacts}
    found: dict[Path, Answers] = {}
    for dtype in sorted({router.record["dtype"] for router in routers.values()}):
        group = [router for router in routers.values() if router.record["dtype"] == dtype]
        depths = [router.record["layer"] for router in group if router.record.get("layer")]
        layers = max(depths) if len(depths) == len(group) else None
        shared = SharedBase(model, group[0], speed, layers)
        for router in group:
            check_base(router, shared.base, model["path"])
            shared.reader(router)
        for router in group:
            found[router.path] = _ask(shared, router, directions, sources, speed["batch_tokens"])
    return [found[path] for path in artifacts]


def _ask(
    shared: SharedBase, router: Artifact, directions: Sequence[str], sources: Sequence[str],
    batch_tokens: int,
) -> Answers:  # fmt: skip
    warn_of_new_directions(router.record, set(directions))
    rows = shared.rows(router, directions, sources)
    with shared.attached(router) as regressor:
        outputs = regressor.predict(rows.ids, batch_tokens, f"routing, {router.path.parent.name}")
    answers = router.readout.answers(outputs[rows.of_row])
    prediction, priority = router.readout.priorities(answers)
    return {**answers, "prediction": prediction, "priority": priority}


def warn_of_new_directions(record: Mapping[str, Any], directions: set[str]) -> set[str]:
    """Say on standard error which of the directions the router never saw; returns them."""
    new = directions - set(record["directions"])
    if new:
        print(
            f"router '{record['type']}' ({record['target']}): no training rows for direction "
            f"{', '.join(sorted(new))}; predicted all the same, from what it learned on "
            f"{', '.join(record['directions'])}.",
            file=sys.stderr,
        )
    return new
