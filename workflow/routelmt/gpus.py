"""Jobs side by side on one machine with several GPUs: each takes free ones for itself.

Snakemake counts GPUs (`resources: gpu=N`) but hands none out, and CUDA gives every process the
first. On a cluster the scheduler does both, and nothing here acts.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from routelmt.errors import UserError

FOLDER_VARIABLE = "ROUTELMT_GPU_LOCKS"  # where the locks are, if not in /tmp
SCHEDULERS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID")
VISIBLE = "CUDA_VISIBLE_DEVICES"
_WAIT = 1.0  # seconds between two looks
_QUERY = ["nvidia-smi", "--query-gpu=index,uuid", "--format=csv,noheader"]
_held: list[int] = []  # file descriptors: locks last until the process ends, however it ends


class Gpu(NamedTuple):
    """A GPU as the driver lists it; numbers follow the PCI bus."""

    number: str
    uuid: str


def claim(arguments: argparse.Namespace) -> None:
    """Make only as many GPUs visible as the options ask for, none of them another job's.

    Acts for device "cuda" where there are more to choose from, and waits for one to be free. Must
    come before torch or vLLM looks for GPUs. Raises UserError if there never are enough.
    """
    asked = (getattr(arguments, option, None) for option in ("tensor_parallel", "processes"))
    count = max(filter(None, asked), default=1)
    if getattr(arguments, "device", None) != "cuda" or any(s in os.environ for s in SCHEDULERS):
        return
    gpus = visible_gpus()
    if gpus and count > len(gpus):
        raise UserError(
            f"{count} GPUs asked for ('tensor_parallel' or 'processes' in speed), and there are "
            f"{len(gpus)} here (nvidia-smi -L; {VISIBLE} may hide some). Ask for fewer."
        )
    if len(gpus) <= count:
        return
    taken = _wait_for(gpus, count)
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    os.environ[VISIBLE] = ",".join(gpu.number for gpu in taken)
    print(f"GPU {os.environ[VISIBLE]} of {len(gpus)}", file=sys.stderr)


def visible_gpus() -> list[Gpu]:
    """The machine's GPUs, or those of them that CUDA_VISIBLE_DEVICES names.

    Empty where the driver lists none, and for names of other kinds (parts of GPUs).
    """
    try:
        listed = subprocess.run(_QUERY, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    gpus = [Gpu(*(v.strip() for v in row.split(",", 1))) for row in listed.splitlines() if row]
    if VISIBLE not in os.environ:
        return gpus
    by_name = {name: gpu for gpu in gpus for name in gpu}
    names = [name.strip() for name in os.environ[VISIBLE].split(",")]
    return [by_name[name] for name in names] if by_name.keys() >= set(names) else []


def _wait_for(gpus: Sequence[Gpu], count: int) -> list[Gpu]:
    folder, said = _lock_folder(), False
    while True:
        taken = _take(folder, gpus, count)
        if taken:
            return taken
        if not said:
            print(
                f"waiting for {count} of {len(gpus)} GPUs: other jobs have them (profiles/local: "
                "'resources: gpu' counts them)",
                file=sys.stderr,
            )
            said = True
        time.sleep(_WAIT)


def _take(folder: Path, gpus: Sequence[Gpu], count: int) -> list[Gpu]:
    """All of `count` GPUs or none: two jobs that each hold half of what they need would hang."""
    taken: dict[int, Gpu] = {}
    with (folder / "one-at-a-time").open("w") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        for gpu in gpus:
            lock = os.open(folder / gpu.uuid, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(lock)
                continue
            taken[lock] = gpu
            if len(taken) == count:
                break
        if len(taken) < count:
            for lock in taken:
                os.close(lock)
            return []
    for lock in taken:
        os.set_inheritable(lock, True)  # what takes this process's place, a launcher, keeps it
    _held.extend(taken)
    return list(taken.values())


def _lock_folder() -> Path:
    """A folder of this user's on this machine; UserError if it is somebody else's."""
    folder = Path(os.environ.get(FOLDER_VARIABLE) or f"/tmp/routelmt-gpus-{os.getuid()}")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise UserError(
            f"{folder}: not a folder of yours, and GPUs are handed out by locks in it. Set "
            f"{FOLDER_VARIABLE} to another one on this machine."
        )
    return folder
