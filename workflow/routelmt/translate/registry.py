"""Modules of the engines. One new engine: a file with `load(model, speed)` and a line here."""

ENGINES = {
    "transformers": "routelmt.translate.transformers_engine",
    "vllm": "routelmt.translate.unavailable",
}
