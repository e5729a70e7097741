"""Models that read hypothesis, source and reference as one sequence."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from routelmt.score.comet.scorer import CometScorer, Counts, on_device
from routelmt.score.scorers import Span


class JointScorer(CometScorer):
    """XCOMET and unified models: one sequence of hypothesis, source and reference.

    With a reference there are three passes: with the source, with the reference, and with both.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        mix = self.model.layerwise_attention
        if mix is not None and not mix.layer_norm:
            # The score is read off the first token: no need to mix the layers of all others.
            mix.register_forward_pre_hook(_first_token)
        decode = self.model.decode
        # Token by token: on a GPU that would wait for the device at each of them.
        self.model.decode = lambda probs, ids, offsets: decode(probs.cpu(), ids.cpu(), offsets)

    def run(
        self, texts: dict[str, list[str]], counts: dict[str, Counts]
    ) -> tuple[list[float], list[list[Span]] | None]:
        lengths = np.minimum(self._joined(list(counts.values())), self.positions)
        values = [math.nan] * len(lengths)
        spans: list[list[Span]] = [[] for _ in values]
        marks = False

        def work(rows: list[int]) -> None:
            nonlocal marks
            samples = [{name: column[i] for name, column in texts.items()} for i in rows]
            inputs = self.model.prepare_sample(samples, stage="predict")
            batch = tuple(on_device(self.model.device, i) for i in inputs)
            found = self.model.predict_step(batch)
            metadata = found.get("metadata", {})
            marks = "error_spans" in metadata
            for n, (i, value) in enumerate(zip(rows, found["scores"].tolist(), strict=True)):
                values[i] = value
                if marks:
                    spans[i] = metadata["error_spans"][n]

        self.in_batches(lengths, work, "rows")
        return values, spans if marks else None

    def _joined(self, counts: list[Counts]) -> Counts:
        """Tokens of the longest sequence, special ones included, before it is cut."""
        separators = (len(counts) - 1) * int(self.model.encoder.size_separator)
        total: Counts = np.sum([np.minimum(c, self.room) for c in counts], axis=0)
        return total + 2 + separators

    def truncated(self, counts: list[Counts]) -> npt.NDArray[np.bool_]:
        return super().truncated(counts) | (self._joined(counts) > self.positions)


def _first_token(_: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Hook of the mix of layers: the states (rows, tokens, hidden) of the first token only."""
    return ([states[:, :1] for states in inputs[0]], *inputs[1:])
