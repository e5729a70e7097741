"""The configs that ship, in miniature: what replaces a download or a GPU, and nothing else.

Each is run as its own comment says (profile, config files), with one more config file on top: the
stand-ins below. Engines, beams, number formats, metrics, routers and tables are the config's own.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.hub import layouts
from tests.hub.server import Hub
from tests.published import layouts as published

# One of the four: several at a time are in the demo's tests.
DIRECTIONS = ["en-zh"]
# Rows of each dataset, and tokens decoded: in bfloat16 a CPU needs its time.
TRAIN, VALID, TEST = 8, 6, 6
FLORES = 12  # the local experiment's only test set: fewer prompts cannot be timed
NEW_TOKENS = 3
ON_THE_CPU = {"device": "cpu"}


class Shipped(NamedTuple):
    """How a config is run."""

    files: tuple[str, ...]
    profile: str = ""


DEMO = "profiles/demo/experiment.yaml"
FULL = (DEMO, "profiles/demo/full.yaml")  # what `make demo-full` reads
SHIPPED = {
    "paper": Shipped(("config.yaml",)),
    "local": Shipped(("profiles/local/experiment.yaml",), "profiles/local"),
    "smoke-gpu": Shipped(("profiles/smoke-gpu/experiment.yaml",), "profiles/local"),
    "demo": Shipped((DEMO,), "profiles/demo"),
    "demo-full": Shipped(FULL, "profiles/demo"),
    "demo-seeds": Shipped((*FULL, "profiles/demo/three-seeds.yaml"), "profiles/demo"),
    "demo-search": Shipped((*FULL, "profiles/demo/search.yaml"), "profiles/demo"),
    "demo-pool": Shipped((DEMO, "profiles/demo/pool.yaml"), "profiles/demo"),
    "demo-readers": Shipped((DEMO, "profiles/demo/readers.yaml"), "profiles/demo"),
    "wmt25": Shipped(("profiles/wmt25/experiment.yaml",), "profiles/wmt25"),
    "example": Shipped(("docs/example/experiment.yaml",)),
}


def write_upstream(folder: Path, hub: Hub) -> dict[str, Any]:
    """Let the hub serve a few documents a dataset; the `sources` that read them."""
    layouts.write_commt(folder / "commt", TRAIN, valid_rows=VALID, test_rows=TEST)
    layouts.write_wmt24pp(folder / "wmt24pp", TEST)
    layouts.write_bouquet(folder / "bouquet", TEST // 2)
    layouts.write_flores_tarball(folder / "flores", FLORES)
    layouts.pack_tarball(folder / "flores", folder / "flores.tar.gz")
    archive = (folder / "flores.tar.gz").read_bytes()
    names = {"commt": "NiuTrans/ComMT", "wmt24pp": "google/wmt24pp", "bouquet": "facebook/bouquet"}
    sources: dict[str, Any] = {
        source: {"revision": hub.add(name, folder / source, gated=source == "bouquet").commit}
        for source, name in names.items()
    }
    sources["wmt24pp"]["files"] = ["en-zh_CN.jsonl", "en-ru_RU.jsonl"]
    url = hub.add_file("flores200_dataset.tar.gz", archive)
    digest = sha256(archive).hexdigest()
    return sources | {"flores": {"url": url, "size": len(archive), "sha256": digest}}


def paper(sources: dict[str, Any], tiny: Path) -> dict[str, Any]:
    """Stand-ins of config.yaml; `tiny`: a folder of checkpoints."""
    counts = {"flores": FLORES, "wmt24pp": TEST, "bouquet": TEST, "commt-train": TRAIN}
    return {
        "directions": DIRECTIONS,
        "sources": sources,
        "datasets": {name: {"rows": rows} for name, rows in counts.items()},
        "models": {
            "lmt-60-0.6b": _model("small"),
            "lmt-60-1.7b": _model("small"),
            "lmt-60-4b": _model("large"),
            "lmt-60-8b": _model("large"),
        },
        "metrics": {
            "xcomet-xxl": _checkpoint(tiny / "xcomet-xl"),
            "comet-22": _checkpoint(tiny / "regression"),
        },
        "routers": {
            **{f"sentinel-src-{year}": _folder(tiny / "sentinel") for year in (24, 25)},
            **{f"xlmr-{target}": {"path": str(tiny / "xlmr")} for target in ("gain", "quality")},
        },
    }


def local(sources: dict[str, Any], tiny: Path) -> dict[str, Any]:
    """Stand-ins of profiles/local/experiment.yaml."""
    return {
        "directions": DIRECTIONS,
        "sources": {name: sources[name] for name in ("commt", "flores")},
        "datasets": {
            "commt-sample": {"part": [0.0, 1.0]},
            "commt-valid-sample": {"part": [0.0, 1.0]},
            "flores": {"rows": FLORES},
        },
        "models": {"lmt-60-0.6b": _model("small"), "lmt-60-4b": _model("large")},
        "metrics": {"comet-22": _checkpoint(tiny / "regression")},
    }


def smoke_gpu(wheels: dict[str, Any]) -> dict[str, Any]:
    """Stand-ins of profiles/smoke-gpu/experiment.yaml: its models ship."""
    small = {"max_new_tokens": NEW_TOKENS, "speed": ON_THE_CPU}
    return {
        "sources": wheels,
        "corpora": {"gettext": {"limits": _limits()}},
        "models": {"smoke-small": small, "smoke-large": small},
    }


def wmt25(folder: Path) -> dict[str, Any]:
    """Stand-ins of profiles/wmt25/experiment.yaml: two of its experiments on invented documents."""
    experiments = yaml.safe_load(Path(SHIPPED["wmt25"].files[0]).read_text())["experiments"]
    systems = sorted({e[size] for e in experiments.values() for size in ("small", "large")})
    systems += ["Algharb", "DeepSeek-V3", "Mistral-7B", "NLLB", "SRPOL"]  # of the atlas
    told = [
        (domain, f"{domain}{n}", [sha256(f"{domain}{n}{i}".encode()).hexdigest() for i in (0, 1)])
        for n in range(20) for domain in ("news", "social")
    ]  # fmt: skip
    pairs = ("en-zh_CN", "en-ru_RU")
    made_up = published.drawn, published.one_person
    published.wmt25(folder, systems, False, pairs, told, *made_up)
    own = {"local": str(folder)}
    return {
        "directions": ["en-zh", "en-ru"],
        "sources": {"wmt25": own, "wmt25-human": own},
        "run": ["command", "qwen-learned"],
        "experiments": {"qwen-learned": {"sweeps": {"rows": {"values": [20, 40]}}}},
    }


def demo_full(config: dict[str, Any], transfer: dict[str, Any]) -> dict[str, Any]:
    """full.yaml with one seed and short trainings, transfer as given; every router stays."""
    for router in config["routers"].values():
        if "epochs" in router:
            router["epochs"] = 1
    config["experiments"]["demo-full"] |= {
        "seeds": [0], "transfer": transfer, "bootstrap": {"replicates": 100}
    }  # fmt: skip
    for sweep in config["experiments"]["demo-full"]["sweeps"].values():
        sweep["values"] = [20, 40]
    return config


def _limits() -> dict[str, int]:
    return {"test": 2 * TEST, "valid": VALID, "router-train": TRAIN}


def _model(size: str) -> dict[str, Any]:
    shipped = _folder(Path("data/demo") / size)
    return shipped | {"max_new_tokens": NEW_TOKENS, "speed": ON_THE_CPU}


def _checkpoint(folder: Path) -> dict[str, Any]:
    return _folder(folder) | {"speed": ON_THE_CPU}


def _folder(path: Path) -> dict[str, Any]:
    return {"path": str(path), "revision": None}
