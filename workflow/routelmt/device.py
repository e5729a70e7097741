"""Where models run."""

from __future__ import annotations

import platform

from routelmt.errors import UserError


def find_device(name: str) -> str:
    """The torch device that `name` stands for; 'auto' is the GPU if there is one."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(
            f"device '{name}': torch sees no GPU here (CUDA_VISIBLE_DEVICES may hide it, or torch "
            "may be a CPU build). Use 'auto' or 'cpu', or run on a machine with a GPU."
        )
    return name


def device_name(device: str, threads: int) -> str:
    """What timings on a torch device hold for: the GPU's name, or the processor's and threads."""
    if device.startswith("cuda"):
        import torch

        return str(torch.cuda.get_device_name(device))
    return f"{platform.machine()} CPU, {threads} thread{'s' if threads > 1 else ''}"
