"""Which routers are drawn as curves."""

from routelmt.figures.panels import drawn

FOUND = [("gain-oracle", "oracle"), ("a", "router"), ("b", "router")]


def test_all_are_drawn_unless_some_are_named() -> None:
    assert drawn(FOUND, {}) == drawn(FOUND, {"curves": None}) == FOUND
    assert drawn(FOUND, {"curves": ["b", "gain-oracle", "of another experiment"]}) == [
        FOUND[0],
        FOUND[2],
    ]


def test_names_of_other_experiments_alone_draw_all() -> None:
    assert drawn(FOUND, {"curves": ["of another experiment"]}) == FOUND
