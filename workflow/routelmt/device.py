"""Where models run."""

from __future__ import annotations

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
