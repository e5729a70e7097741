"""What a config needs of this machine, checked before a job is: `python -m routelmt doctor`."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from routelmt import config as configuration
from routelmt.config import Config, experiment_routers, scored_metrics, sources_of
from routelmt.environments import ENVIRONMENTS, python_of
from routelmt.hub_cache import is_cached, is_on_the_hub
from routelmt.plan import Plan
from routelmt.score.registry import METRICS
from routelmt.translate.registry import ENGINES

OK, WARNING, FAILURE = "ok", "warning", "FAILURE"
LEAST_DISK = 5e9  # bytes
CORE = ("torch", "transformers", "peft", "pyarrow", "sacrebleu", "matplotlib", "numba")
Used = dict[str, dict[str, Config]]  # entries that the planned experiments use, by section and name


class Finding(NamedTuple):
    """One thing that was looked at: OK, WARNING or FAILURE, what, and what to do about it."""

    state: str
    what: str
    remedy: str = ""


def examine(config: Config) -> Iterator[Finding]:
    """Everything that the planned experiments of a resolved config need.

    That a config could be resolved says already that languages, tokenisers and names are known.
    """
    used = _used(config)
    yield Finding(OK, f"config: {len(config['run'])} experiments, languages and tokenisers known")
    yield from _packages(config, used)
    yield from _cards(used)
    yield from _data(config)
    yield from _models(used)
    yield from _secrets(config, used)
    yield from _disk()
    yield from _slurm()


def _used(config: Config) -> Used:
    experiments = [config["experiments"][name] for name in config["run"]]
    routers = [r for e in experiments for r in experiment_routers(e)]
    bases = [config["routers"][r]["base"] for r in routers if config["routers"][r].get("base")]
    names = {
        "models": [*(e[size] for e in experiments for size in ("small", "large")), *bases],
        "metrics": [m for e in experiments for m in sorted(scored_metrics(config, e))],
        "routers": routers,
    }
    return {key: {n: config[key][n] for n in dict.fromkeys(of)} for key, of in names.items()}


def _packages(config: Config, used: Used) -> Iterator[Finding]:
    """Packages of the core, and the environments of engines and metrics."""
    missing = [name for name in CORE if importlib.util.find_spec(name) is None]
    yield Finding(
        FAILURE if missing else OK,
        f"core environment: no {', '.join(missing)}" if missing else "core environment",
        "make install, then source .venv/bin/activate",
    )
    engines = {ENGINES[m["engine"]].environment for m in used["models"].values()}
    metrics = {METRICS[m["type"]].environment for m in used["metrics"].values()}
    for name in sorted((engines | metrics) - {""}):
        environment, python = ENVIRONMENTS[name], python_of(name)
        ready = importlib.util.find_spec(environment.module) is not None or any(
            python.parents[1].glob(f"lib/python*/site-packages/{environment.module}")
        )
        remedy = f"{environment.setup}, or run with --sdm conda"
        yield Finding(OK if ready else FAILURE, f"environment '{name}' ({python})", remedy)


def _cards(used: Used) -> Iterator[Finding]:
    """GPUs, where a model or metric asks for one."""
    entries = [*used["models"].values(), *used["metrics"].values()]
    wanted = max((e["speed"].get("gpu", 0) for e in entries if "speed" in e), default=0)
    if not wanted:
        return
    cards = _printed("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader")
    if len(cards) >= wanted:
        yield Finding(OK, f"GPUs: {'; '.join(cards)}")
        return
    elsewhere = shutil.which("sbatch") is not None
    yield Finding(
        WARNING if elsewhere else FAILURE,
        f"GPUs: {len(cards)} here, a job asks for {wanted}",
        "the nodes of the cluster need them" if elsewhere else "set 'speed' to device: cpu, gpu: 0",
    )


def _data(config: Config) -> Iterator[Finding]:
    """Files that the config names, and sources that are or can be fetched."""
    for sentence in configuration.missing_files(config):
        yield Finding(FAILURE, sentence)
    for sentence in configuration.missing_inputs(config).values():
        yield Finding(WARNING, sentence, "stages that read it stop until it is there")
    for name in Plan(config).sources():
        there = Path("data/raw", name).is_dir()
        remedy = f"python -m routelmt fetch --source {name}, or the run fetches it"
        yield Finding(OK if there else WARNING, f"source '{name}' in data/raw", remedy)
        if sources_of(config)[name].get("gated") and not there:
            yield Finding(OK if _hub_token() else FAILURE, f"a token for the gated '{name}'",
                          "accept its licence on its page, then set HF_TOKEN")  # fmt: skip


def _models(used: Used) -> Iterator[Finding]:
    """Weights on this machine, or reachable."""
    offline = os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0")
    for section, entries in used.items():
        for name, entry in entries.items():
            if not entry.get("path") or not is_on_the_hub(entry):
                continue
            there = is_cached(entry["path"], entry.get("revision"))
            state = OK if there else FAILURE if offline else WARNING
            remedy = f"hf download {entry['path']}"
            if entry.get("revision"):
                remedy += f" --revision {entry['revision']}"
            yield Finding(state, f"{section}.{name}: {entry['path']} in the hub's cache", remedy)


def _secrets(config: Config, used: Used) -> Iterator[Finding]:
    """Keys of endpoints; whether they are set, never what they are."""
    for name, model in used["models"].items():
        if model["engine"] == "openai":
            variable = model["speed"]["api_key_variable"]
            state = OK if os.environ.get(variable) else WARNING
            yield Finding(state, f"models.{name}: {variable} is set", f"export {variable}=...")


def _hub_token() -> bool:
    home = os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface")
    return bool(os.environ.get("HF_TOKEN")) or Path(home, "token").is_file()


def _disk() -> Iterator[Finding]:
    free = shutil.disk_usage(Path.cwd()).free
    state = OK if free > LEAST_DISK else FAILURE
    yield Finding(state, f"disk: {free / 1e9:,.0f} GB free here", "python -m routelmt estimate")


def _slurm() -> Iterator[Finding]:
    """Slurm, where it is installed: how long it remembers ended jobs (see profiles/slurm)."""
    if shutil.which("sbatch") is None:
        return
    age = [line for line in _printed("scontrol", "show", "config") if line.startswith("MinJobAge")]
    seconds = int(age[0].split("=")[1].split()[0]) if age else 0
    remedy = "set MinJobAge to 300, or slurm-init-seconds-before-status-checks lower"
    state = OK if seconds >= 120 else WARNING
    yield Finding(state, f"Slurm: remembers ended jobs for {seconds} s", remedy)


def _printed(*command: str) -> list[str]:
    """Lines that a program prints; none if it is not there or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.strip().splitlines() if done.returncode == 0 else []
