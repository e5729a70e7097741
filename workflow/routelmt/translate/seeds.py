"""Seeds of samples: what a sample draws belongs to its prompt, not to its row or its job."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np


def seed_of(seed: int, prompt: str | Sequence[int], sample: int = 0, bits: int = 32) -> int:
    """A number of so many bits (a multiple of 8) from what a sample is known by.

    prompt: a turn, or token ids.
    """
    text = prompt.encode() if isinstance(prompt, str) else np.asarray(prompt, np.int64).tobytes()
    hashed = blake2b(f"{seed}/{sample}/".encode() + text, digest_size=bits // 8)
    return int.from_bytes(hashed.digest(), "little")
