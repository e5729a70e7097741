"""The code that a stage declares is the code that it runs."""

from __future__ import annotations

import io
import itertools
import json
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

from routelmt import stages
from routelmt.data.registry import READERS
from routelmt.evaluate.registry import SWEEP_TABLES, TABLES
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
    "tables": {t.module for t in (TABLES | SWEEP_TABLES).values()},
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


def tokens_of(text: str) -> list[tuple[int, str]]:
    """Tokens of a program without comments, layout, and strings that are statements."""
    layout = (tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT)
    found = [
        (token.type, "" if token.type == tokenize.NEWLINE else token.string)
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type not in layout
    ]
    ends = [i for i, (kind, _) in enumerate(found) if kind == tokenize.NEWLINE]
    lines = [found[a + 1 : b + 1] for a, b in itertools.pairwise([-1, *ends, len(found)])]
    documented = [tokenize.STRING, tokenize.NEWLINE]
    return [t for line in lines if [kind for kind, _ in line] != documented for t in line]


def test_the_essence_of_code_is_all_of_it_but_comments_and_docstrings() -> None:
    for path in stages.PACKAGE.rglob("*.py"):
        name = path.relative_to(stages.PACKAGE).as_posix()
        assert tokens_of(stages.essence(name)) == tokens_of(path.read_text()), name


@pytest.mark.parametrize(
    ("code", "essence"),
    [
        ('"""Doc."""\nx = 1  # why\n\n\n# more\ny = "# no"\n', 'x = 1\ny = "# no"\n'),
        (
            'def f():\n    """D."""\n    return """a\n\n#"""\n',
            'def f():\n    return """a\n\n#"""\n',
        ),
        ('def f(): "Doc."\n', 'def f(): "Doc."\n'),
        ("x = ['a', '''b#''', \"\\\"#\"]  # c\n", "x = ['a', '''b#''', \"\\\"#\"]\n"),
    ],
)
def test_what_the_essence_keeps(
    code: str, essence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = (stages.essence, stages._parsed, stages._text)
    (tmp_path / "made_up.py").write_text(code)
    monkeypatch.setattr(stages, "PACKAGE", tmp_path)
    found = stages.essence("made_up.py")
    for function in cached:
        function.cache_clear()
    assert found == essence


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
