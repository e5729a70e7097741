"""A tiny world: one wheel with a made-up catalog, and the two models that ship."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polib
import pytest

from routelmt.__main__ import main
from routelmt.provenance import file_hash

LANGUAGES = {"en": "English", "zh": "Chinese"}
PROMPT = "Translate the following text from {src} into {tgt}:\n{src}: {text}\n{tgt}:"
MODELS = Path(__file__).parents[2] / "data/demo"
NOUNS = {"file": "文件", "volume": "卷", "user": "用户", "image": "镜像", "network": "网络"}
VERBS = {"Delete": "删除", "Create": "创建", "Show": "显示", "Rename": "重命名"}
ENDS = {"now": "现在", "at once": "立即", "on the server": "在服务器上"}


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with wheels/."""
    folder = tmp_path_factory.mktemp("world")
    (folder / "wheels").mkdir()
    catalog = polib.POFile()
    catalog.metadata = {"Content-Type": "text/plain; charset=utf-8"}
    catalog.extend(
        polib.POEntry(msgid=f"{v} the {n} {e}", msgstr=f"{vz}{nz}{ez}")
        for v, vz in VERBS.items()
        for n, nz in NOUNS.items()
        for e, ez in ENDS.items()
    )
    with zipfile.ZipFile(folder / "wheels/words.whl", "w") as archive:
        archive.writestr("words/locale/zh_CN/LC_MESSAGES/words.po", str(catalog))
    return folder


@pytest.fixture(scope="session")
def settings(world: Path) -> dict[str, dict[str, Any]]:
    """Settings of every stage, as the workflow would hand them over."""
    wheel = world / "wheels/words.whl"
    file = {"package": "words", "file": wheel.name, "sha256": file_hash(wheel)}
    model = {
        "engine": "transformers",
        "revision": None,
        "dtype": "float32",
        "prompt": PROMPT,
        "beams": 1,
        "max_new_tokens": 12,
        "max_prompt_tokens": 128,
        "languages": LANGUAGES,
    }
    lora = {
        "type": "lora",
        "target": "gain",
        "rank": 2,
        "alpha": 4,
        "learning_rate": 1e-2,
        "epochs": 1,
        "batch_size": 8,
        "max_length": 128,
        "warmup_ratio": 0.05,
        "head_init": "zeros",
        "dropout": 0.0,
        "weight_decay": 0.0,
        "scaling": "standard",
        "dtype": "float32",
    }
    return {
        "corpus": {
            "files": [file],
            "shares": {"test": 0.4, "router-train": 0.4},
            "limits": {},
            "min_words": 3,
            "max_chars": 200,
            "salt": "t",
        },
        "test": {"source": "gettext", "corpus": "c", "split": "test"},
        "train": {"source": "gettext", "corpus": "c", "split": "router-train"},
        "small": {**model, "path": str(MODELS / "small")},
        "large": {**model, "path": str(MODELS / "large")},
        "chrf": {"type": "chrf", "word_order": 0},
        "random": {"type": "random"},
        "length": {"type": "length"},
        "rarity": {"type": "rarity", "share": 0.3, "floor": 1e-9},
        "entropy": {"type": "entropy"},
        "gain-oracle": {"type": "gain-oracle"},
        "quality-oracle": {"type": "quality-oracle"},
        "ngram": {
            "type": "ngram",
            "target": "gain",
            "ngrams": [1, 5],
            "columns": 2**16,
            "alpha": [0.1, 1, 10],
        },
        "frozen-ridge": {
            "type": "probe",
            "layers": "stacked",
            "pool": None,
            "fit": "ridge",
            "target": "gain",
            "standardise": True,
            "alpha": [0.1, 1, 10],
        },
        "routelmt": lora,
        "routelmt-q": {**lora, "target": "quality_small"},
        "style": {
            "width": 6.3,
            "dpi": 60,
            "font_size": 9,
            "palette": "okabe-ito",
            "metric": "chrf",
        },
    }


@pytest.fixture(scope="session")
def command() -> Callable[..., None]:
    """Run a command in this process; its exit code must be 0."""

    def call(name: str, *positional: str | Path, **options: Any) -> None:
        arguments = [name, *map(str, positional)]
        for key, value in options.items():
            arguments.append(f"--{key.replace('_', '-')}")
            values = value if isinstance(value, list) else [value]
            arguments += [json.dumps(v) if isinstance(v, dict) else str(v) for v in values]
        assert main(arguments) == 0, arguments

    return call


@pytest.fixture(scope="session")
def chain(world: Path, settings: dict[str, Any], command: Callable[..., None]) -> dict[str, Path]:
    """Every table up to the gains, made by the commands; `{what}-{split}` names a file."""
    files: dict[str, Path] = {"corpus": world / "corpus.parquet"}
    command("catalogs", wheels=world / "wheels", settings=settings["corpus"], out=files["corpus"])
    for split in ("train", "test"):
        path = {
            w: world / split / f"{w}.parquet"
            for w in (
                "segments",
                "signals",
                "hypotheses-small",
                "hypotheses-large",
                "scores-small",
                "scores-large",
                "gains",
            )
        }
        command(
            "segments",
            origin=files["corpus"],
            dataset=split,
            direction="en-zh",
            settings=settings[split],
            out=path["segments"],
        )
        command(
            "signals",
            segments=path["segments"],
            model="small",
            settings=settings["small"],
            device="cpu",
            out=path["signals"],
        )
        for size in ("small", "large"):
            command(
                "translate",
                segments=path["segments"],
                model=size,
                settings=settings[size],
                device="cpu",
                out=path[f"hypotheses-{size}"],
            )
            command(
                "score",
                segments=path["segments"],
                hypotheses=path[f"hypotheses-{size}"],
                metric="chrf",
                settings=settings["chrf"],
                out=path[f"scores-{size}"],
            )
        command(
            "gains",
            segments=path["segments"],
            small=path["scores-small"],
            large=path["scores-large"],
            out=path["gains"],
        )
        files |= {f"{what}-{split}": p for what, p in path.items()}
    return files
