"""Models that encode source, hypothesis and reference apart."""

from __future__ import annotations

from typing import Any

import numpy as np

from routelmt.score.comet.scorer import CometScorer, Counts, on_device


class SeparateScorer(CometScorer):
    """Regression models: source, hypothesis and reference are encoded apart."""

    def run(
        self, texts: dict[str, list[str]], counts: dict[str, Counts]
    ) -> tuple[list[float], None]:
        sizes = {
            text: int(count)
            for name, column in texts.items()
            for text, count in zip(column, counts[name], strict=True)
        }
        distinct = list(sizes)
        lengths = np.minimum(np.array(list(sizes.values())), self.room) + 2
        encoded = self._encode(distinct, lengths)
        places = {text: n for n, text in enumerate(distinct)}
        return self._estimate({k: [places[t] for t in c] for k, c in texts.items()}, encoded), None

    def _encode(self, texts: list[str], lengths: Counts) -> Any:
        """Tensor (texts, hidden), float32, of the texts' embeddings."""
        import torch

        model = self.model
        encoded = torch.empty(len(texts), model.encoder.output_units, device=model.device)

        def work(rows: list[int]) -> None:
            inputs = model.encoder.prepare_sample([texts[i] for i in rows])
            encoded[rows] = model.compute_sentence_embedding(
                **on_device(model.device, inputs)
            ).float()

        self.in_batches(lengths, work, "texts")
        return encoded

    def _estimate(self, places: dict[str, list[int]], encoded: Any) -> list[float]:
        """Scores by the class's own forward, which looks its embeddings up in `encoded`."""
        import torch

        model = self.model
        found: list[float] = []
        size = max(1, self.budget // 6)  # the estimator reads up to six embeddings of a row
        model.get_sentence_embedding = lambda rows, _: encoded[rows]
        try:
            for start in range(0, len(places["mt"]), size):
                inputs: dict[str, Any] = {}
                for name, column in places.items():
                    inputs[f"{name}_input_ids"] = column[start : start + size]
                    inputs[f"{name}_attention_mask"] = None
                with torch.inference_mode():
                    found += model(**inputs)["score"].tolist()
        finally:
            del model.get_sentence_embedding
        return found
