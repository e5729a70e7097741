"""The losses of both translators over the tokens they have seen."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path


def plot_losses(models: Sequence[Path], out: Path) -> None:
    """Training and validation loss (nats a target token) against training tokens, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(5.2, 3.0), layout="constrained")
    for model, colour in zip(models, ("#0072B2", "#D55E00"), strict=False):
        rows = [json.loads(line) for line in (model / "history.jsonl").read_text().splitlines()]
        tokens = [row["tokens"] / 1e6 for row in rows]
        for key, style in (("valid_loss", "-o"), ("train_loss", ":")):
            label = (
                f"{model.name}, {'validation' if key == 'valid_loss' else 'training (smoothed)'}"
            )
            axes.plot(tokens, [row[key] for row in rows], style, color=colour, label=label, ms=3)
    axes.set(xlabel="tokens seen (million)", ylabel="loss (nats a target token)")
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(out, dpi=160, metadata={"Software": None})
