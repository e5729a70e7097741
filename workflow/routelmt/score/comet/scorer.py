"""What the two kinds of COMET model share: signature, counting tokens, batches, memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from routelmt.errors import UserError
from routelmt.score.scorers import Scored, Span, Triple

Counts = npt.NDArray[np.int64]
# A batch ends where the next row is shorter than this share of its longest.
_SPREAD = 0.9
_PLACES = {"mt": 1, "src": 0, "ref": 2}  # COMET's names, in a triple


class CometScorer:
    """What the two kinds of model share: signature, batches, and the device's memory."""

    def __init__(
        self,
        model: Any,
        identity: Mapping[str, Any],
        settings: Mapping[str, Any],
        batch_tokens: int,
    ) -> None:
        self.model, self.identity, self.settings = model, identity, settings
        self.budget = batch_tokens
        trained = set(reads(model, identity["class"]))
        self.reads = trained if settings["reference"] else trained - {"ref"}
        # Text beyond the encoder's positions is cut silently; COMET keeps two for special tokens.
        self.positions: int = model.encoder.max_positions
        for head in ("estimator", "hidden2tag"):
            if hasattr(model, head):
                getattr(model, head).register_forward_pre_hook(_in_float32)

    def signature(self) -> dict[str, Any]:
        """Class and hashes of the checkpoint and the encoder, comet's version, dtype, reference."""
        from importlib.metadata import version

        return {
            "metric": "comet",
            **self.identity,
            "comet": version("unbabel-comet"),
            "dtype": self.settings["dtype"],
            "reference": self.settings["reference"],
        }

    def score(self, triples: Sequence[Triple]) -> Scored:
        """Scores (times 100) of (source, hypothesis, reference), in their order."""
        texts = {k: [t[i] for t in triples] for k, i in _PLACES.items() if k in self.reads}
        counts = {name: self._count(column) for name, column in texts.items()}
        values, spans = self.run(texts, counts)
        if not all(map(math.isfinite, values)):
            raise UserError(
                f"metric '{self.settings['path']}': scores are not finite numbers in "
                f"{self.settings['dtype']}; use 'dtype: bfloat16' or 'float32' in the config."
            )
        truncated = self.truncated(list(counts.values()))
        return Scored([100.0 * v for v in values], truncated.tolist(), spans)

    def run(
        self, texts: dict[str, list[str]], counts: dict[str, Counts]
    ) -> tuple[list[float], list[list[Span]] | None]:
        """(scores from 0 to 1, spans if the model marks any) of texts and their token counts."""
        raise NotImplementedError

    def truncated(self, counts: list[Counts]) -> npt.NDArray[np.bool_]:
        """Which rows the model sees only part of."""
        longest: Counts = np.max(counts, axis=0)
        return longest > self.room

    @property
    def room(self) -> int:
        """Tokens that COMET leaves of one text, special ones not counted."""
        return self.positions - 4

    def _count(self, texts: list[str]) -> Counts:
        """Tokens of each text, special ones not counted, nothing cut."""
        distinct = list(dict.fromkeys(texts))
        ids = self.model.encoder.tokenizer(
            distinct, add_special_tokens=False, return_attention_mask=False, verbose=False
        )["input_ids"]
        counts = {text: len(i) for text, i in zip(distinct, ids, strict=True)}
        return np.array([counts[t] for t in texts], dtype=np.int64)

    def in_batches(self, lengths: Counts, work: Callable[[list[int]], None], unit: str) -> None:
        """Call `work` with the rows of each batch, longest first, in as much memory as there is.

        The budget is halved, for good, where a GPU's memory does not hold a batch.
        """
        import torch

        from routelmt.progress import progress

        left = np.argsort(-lengths, kind="stable").tolist()
        with torch.inference_mode(), progress((), "this block", unit, len(left)) as bar:
            while left:
                rows = self._next_batch(lengths, left)
                if not self._fits(work, rows):
                    if len(rows) == 1:
                        raise UserError(
                            f"the GPU's memory does not hold one row of {lengths[rows[0]]} tokens "
                            "beside the model: use a smaller 'dtype' or a larger GPU."
                        )
                    self.budget = int(lengths[rows[0]]) * len(rows) // 2
                    torch.cuda.empty_cache()
                    continue
                del left[: len(rows)]
                bar.update(len(rows))

    def _next_batch(self, lengths: Counts, left: list[int]) -> list[int]:
        longest = max(1, int(lengths[left[0]]))
        rows = left[: max(1, self.budget // longest)]
        return [i for i in rows if lengths[i] >= _SPREAD * longest] or rows[:1]

    def _fits(self, work: Callable[[list[int]], None], rows: list[int]) -> bool:
        import torch

        try:
            work(rows)
        except torch.OutOfMemoryError:
            return False
        return True


def reads(model: Any, kind: str) -> list[str]:
    """Which of mt, src and ref the model was trained to read."""
    if kind == "referenceless_regression_metric":
        return ["mt", "src"]
    return list(model.hparams.get("input_segments", ["mt", "src", "ref"]))


def _in_float32(_: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Hook of a head: COMET hands it float32 or the encoder's dtype, as the class has it."""
    return tuple(i.float() for i in inputs)


def on_device(device: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """A batch with its tensors on the device."""
    return {k: v.to(device) if hasattr(v, "to") else v for k, v in inputs.items()}
