"""COMET metrics: XCOMET, COMETKiwi and other unified ones, regression with or without reference.

The scores are those of COMET's own `predict` (Rei et al. 2020, 2022; Guerreiro et al. 2024), times
100. What differs is the work: batches hold texts of like length in tokens, up to a budget of
tokens, and regression metrics encode each distinct text once. XCOMET caps its regression parts at
1; nothing is cut at 0, so a score may be slightly negative.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from routelmt.device import find_device
from routelmt.errors import UserError
from routelmt.score.comet.joint import JointScorer
from routelmt.score.comet.scorer import CometScorer, reads
from routelmt.score.comet.separate import SeparateScorer


def open_scorer(settings: Mapping[str, Any], speed: Mapping[str, Any]) -> CometScorer:
    """The scorer with its model loaded on the device that `speed` names.

    settings: path, revision, encoder, encoder_revision, reference, dtype. Raises UserError for a
    model that cannot be loaded, or that needs a reference where there is none, or the reverse.
    """
    import torch

    from routelmt.score.comet.checkpoint import load

    torch.set_num_threads(speed["threads"])
    device = find_device(speed["device"])
    model, identity = load(settings)
    _check_reference(model, identity["class"], settings)
    kind = JointScorer if hasattr(model, "concat_inputs") else SeparateScorer
    return kind(model.to(device), identity, settings, speed["batch_tokens"])


def _check_reference(model: Any, kind: str, settings: Mapping[str, Any]) -> None:
    """UserError unless the model can do with, or without, the reference as `settings` asks."""
    seen = reads(model, kind)
    if settings["reference"] and "ref" not in seen:
        raise UserError(
            f"metric '{settings['path']}' ({kind}) never sees a reference: set 'reference: false' "
            "in the config, so that its scores are not taken for reference-based ones."
        )
    if not settings["reference"] and (kind == "regression_metric" or "src" not in seen):
        raise UserError(
            f"metric '{settings['path']}' ({kind}) needs a reference: set 'reference: true' in the "
            "config, or take a reference-free metric such as COMETKiwi."
        )
