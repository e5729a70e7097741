"""Loops as machine code."""

import pytest

from routelmt import compiled


def test_loops_are_compiled_without_a_folder_to_keep_them_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, asked = compiled.numba.njit, []

    def refusing(**options: object) -> object:
        asked.append(options.get("cache", False))
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return real(**options)

    monkeypatch.setattr(compiled.numba, "njit", refusing)
    twice = compiled.compiled(lambda x: 2 * x)
    assert twice(21) == 42 and asked == [True, False]
