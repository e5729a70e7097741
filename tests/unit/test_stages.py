"""The code that a stage declares is the code that it runs."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from routelmt import stages
from routelmt.data.registry import READERS
from routelmt.figures.registry import FIGURES, SWEEP_FIGURES
from routelmt.routers.registry import ROUTERS, router_type
from routelmt.score.registry import METRICS
from routelmt.translate.registry import ENGINES

KINDS = {
    "segments": {r.module for r in READERS.values()},
    "hypotheses": {e.module for e in ENGINES.values()},
    "signals": {e.module for e in ENGINES.values()},
    "scores": {m.module for m in METRICS.values()},
    "samples": {e.module for e in ENGINES.values()},
    "sample_scores": {m.module for m in METRICS.values()},
    "routers": {ROUTERS[kind] for kind in ROUTERS if router_type(kind).trained},
    "predictions": set(ROUTERS.values()),
    "figures": {f.module for f in (FIGURES | SWEEP_FIGURES).values()},
}
CASES = [(s, k) for s in stages.STAGES for k in sorted(KINDS.get(s, {""}))]


@pytest.mark.parametrize(("stage", "kind"), CASES)
def test_declared_files_cover_what_is_imported(stage: str, kind: str) -> None:
    """Importing every declared module in a fresh process loads no undeclared one."""
    declared = stages.code_files(stage, kind)
    code = [file for file in declared if file.endswith(".py")]
    names = [f"routelmt.{file.removesuffix('.py').replace('/', '.')}" for file in code]
    script = (
        f"import importlib, json, sys\nfor n in {names!r}: importlib.import_module(n)\n"
        "print(json.dumps([m for m in sys.modules if m.startswith('routelmt.')]))"
    )
    loaded = json.loads(
        subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        ).stdout
    )
    modules = {m.removeprefix("routelmt.") for m in loaded}
    packages = {m for m in modules if (stages.PACKAGE / m.replace(".", "/")).is_dir()}
    counted = {m for m in modules - packages if stages.shapes_bytes(m)}
    assert {f"{m.replace('.', '/')}.py" for m in counted} <= set(declared)


def test_package_files_hold_no_code() -> None:
    """They are not tracked, so nothing but a docstring may stand in them."""
    for path in stages.PACKAGE.rglob("__init__.py"):
        if path.parent.name in ("routelmt", "commands"):
            continue
        lines = path.read_text().strip().splitlines()
        assert len(lines) <= 3 and lines[0].startswith('"""'), path


def test_stages_are_told_apart() -> None:
    assert "translate/signals.py" not in stages.code_files(
        "hypotheses", ENGINES["transformers"].module
    )
    assert "score/sacrebleu_metrics.py" not in stages.code_files("scores", METRICS["comet"].module)
    assert "gains.py" in stages.code_files("gains")
    assert not any(f.startswith("commands") for s, k in CASES for f in stages.code_files(s, k))


def test_importing_the_package_is_cheap() -> None:
    """No heavy library loads before it is used; the modules the Snakefile imports included."""
    script = (
        "import sys, routelmt, routelmt.plan, routelmt.__main__\n"
        "print([m for m in ('torch','transformers','pandas','matplotlib','peft','sacrebleu',"
        "'scipy', 'numpy', 'pyarrow') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
