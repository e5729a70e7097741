"""Which code shapes the bytes of each stage.

The rules list these files as inputs, so that an edit re-runs exactly the stages it can change;
provenance records their hash. A test keeps the lists equal to what each stage really imports.
Left out on purpose: reading and writing (tables, provenance), the command line, logging, config.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent

