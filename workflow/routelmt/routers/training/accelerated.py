"""Training in several processes, one a GPU, started by `accelerate launch`.

The rows of a batch are spread over the processes and their gradients summed, so that every process
makes the same update: the batch stays the config's, whatever the number of processes.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from routelmt.errors import UserError

MARK = "ROUTELMT_PROCESSES"  # set in what `launch` started
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_BUCKET = 2**25  # gradients summed in one exchange, as float32: 128 MiB
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Workers:
    """This process among those that train together."""

    rank: int = 0
    count: int = 1

    @property
    def main(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def share(self, rows: Rows, lengths: npt.NDArray[np.int64]) -> Rows:
        """This process's part of `rows` (n,): about as many tokens as any other's."""
        if self.count == 1:
            return rows
        order = np.argsort(-lengths, kind="stable")
        return rows[order[self.rank :: self.count]]

    def sum(self, tensor: Any) -> Any:
        """`tensor` summed over the processes, in place."""
        if self.count > 1:
            import torch.distributed

            torch.distributed.all_reduce(tensor)
        return tensor

    def sum_gradients(self, parameters: Sequence[Any]) -> None:
        """The gradients summed over the processes, in float32 and the same in each."""
        if self.count == 1:
            return
        import torch

        for bucket in _buckets(parameters):
            parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in bucket]
            flat = self.sum(torch.cat([part.flatten().float() for part in parts]))
            pieces = flat.split([p.numel() for p in bucket])
            for parameter, piece in zip(bucket, pieces, strict=True):
                parameter.grad = piece.view_as(parameter).to(parameter.dtype)

    def wait(self) -> None:
        """Until every process is here."""
        if self.count > 1:
            import torch.distributed

            torch.distributed.barrier()

    def leave(self) -> None:
        """Wait for the others and part."""
        if self.count > 1:
            import torch.distributed

            self.wait()
            torch.distributed.destroy_process_group()


def _buckets(parameters: Sequence[Any]) -> Iterator[list[Any]]:
    bucket: list[Any] = []
    for parameter in parameters:
        if bucket and sum(p.numel() for p in bucket) + parameter.numel() > _BUCKET:
            yield bucket
            bucket = []
        bucket.append(parameter)
    yield bucket


def workers() -> Workers:
    """This process's place; alone unless `launch` started it."""
    if MARK not in os.environ:
        return Workers()
    from accelerate import PartialState

    _end_with_the_launcher()
    state = PartialState(cpu=os.environ[MARK] == "cpu")
    return Workers(state.process_index, state.num_processes)


def _end_with_the_launcher() -> None:
    """Die when the launcher is killed: an orphan would write beside the job that replaces it."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def worker_device(device: str) -> str:
    """The device of this process: of several that were launched on GPUs, each has its own."""
    if MARK not in os.environ or device == "cpu":
        return device
    from accelerate import PartialState

    return str(PartialState().device)


def launch(speed: Mapping[str, Any], device: str) -> None:
    """Where speed["processes"] asks for several, start this very command again in as many.

    Does not return then: `accelerate launch` takes the place of this process. Returns at once in
    the processes that it started, and where one is enough.
    Raises UserError if this is not `python -m routelmt`, or there are too few GPUs.
    """
    count = speed.get("processes") or 1
    if count == 1 or MARK in os.environ:
        return
    _check(count, device)
    os.environ[MARK] = device.partition(":")[0]
    command = [
        sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--multi_gpu",
        "--num_processes", str(count), "--num_machines", "1", "--main_process_port", "0",
        "--mixed_precision", "no", "--dynamo_backend", "no",
        "--num_cpu_threads_per_process", str(speed["threads"]),
        "--module", "routelmt", *sys.argv[1:],
    ]  # fmt: skip
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, command)


def from_command_line() -> bool:
    """Whether this process is `python -m routelmt`, so that it can be started again."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec is not None and spec.name == "routelmt.__main__"


def _check(count: int, device: str) -> None:
    import torch

    if not from_command_line():
        raise UserError(
            f"processes: {count} processes train only from the command line, `python -m routelmt "
            "train`, which starts itself again in each. Use 1 here."
        )
    if device.startswith("cuda") and torch.cuda.device_count() < count:
        raise UserError(
            f"processes: found {count}, and torch sees {torch.cuda.device_count()} GPU(s); each "
            "process needs one. Lower it, or ask the cluster for more GPUs."
        )
