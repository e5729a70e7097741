"""Modules of the metric types. One new metric: a file and a line here."""

METRICS = {
    "chrf": "routelmt.score.chrf",
    "xcomet": "routelmt.score.unavailable",
}
