"""The tables that views show are made of the same small data as those of the evaluation's tests."""

from tests.unit.evaluate.conftest import gains, other_gains, predictions, segments, settings

__all__ = ["gains", "other_gains", "predictions", "segments", "settings"]
