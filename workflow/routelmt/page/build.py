"""The page: template, style, scripts and payload put together into one HTML file."""

from __future__ import annotations

import hashlib
import html
import re
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from routelmt.page.payload import Source, as_script, payload

HERE = Path(__file__).parent
TEMPLATE = "template.html"
STYLE = "page.css"
# In the order in which they stand on the page: each uses what is before it.
SCRIPTS = (
    "data.js",
    "elements.js",
    "grid.js",
    "chart.js",
    "pareto.js",
    "quality.js",
    "risk.js",
    "deployment.js",
    "transfer.js",
    "atlas.js",
    "pool.js",
    "origins.js",
    "page.js",
)
_SLOT = re.compile(r"\{\{(\w+)\}\}")


def page(sources: Mapping[str, Source], settings: Mapping[str, Any]) -> str:
    """The whole page as HTML, the same for the same tables; see payload for the arguments.

    Nothing is loaded from elsewhere: the policy in its head allows this one style and script, by
    their hashes, and no connection.
    """
    style, script = (
        _read(STYLE),
        f'"use strict";\n(() => {{\n{"".join(map(_read, SCRIPTS))}}})();\n',
    )
    slots = {
        "title": html.escape(f"{settings['experiment']}: which requests deserve the large model?"),
        "policy": policy(style, script),
        "style": style,
        "data": as_script(payload(sources, settings)),
        "script": script,
    }
    return _SLOT.sub(lambda slot: slots[slot[1]], _read(TEMPLATE))


def policy(style: str, script: str) -> str:
    """Content security policy that allows these texts of a style and a script element alone."""
    return (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _read(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")
