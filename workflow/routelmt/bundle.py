"""One archive of an experiment, to publish: what people read, and the records of all behind it.

Tables, their views, figures, page and routers' cards are in it under the paths that they have here,
so that `audit` follows them as it does here. What they were made from (translations, scores, gains,
predictions, weights) is too large, or not ours to publish: of that the archive has the records
alone, with the content hashes that link each to the next.
"""

from __future__ import annotations

import json
import mimetypes
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import routelmt
from routelmt import tables
from routelmt.errors import UserError
from routelmt.trail.artifacts import RECORDS, RENDERINGS, as_record
from routelmt.trail.audit import Audit, audit

TABLE = ".parquet"
METADATA = "ro-crate-metadata.json"
CARDS = "cards"
STAMP = (1980, 1, 1, 0, 0, 0)  # of every file: the same run gives the same bytes but for the day
README = """\
{name}, made by routelmt {version}

page.html, tables and figures are below results/runs/{name}. With routelmt {version} installed,

    python -m routelmt audit results/runs/{name}

checks in this folder that no table was changed, and follows each back along the records
({records}) of what it was made from.
"""


def write_bundle(run: Path, out: Path, licence: str, config: str | None = None) -> list[str]:
    """Write the archive of a run's folder; returns the names of what is in it.

    licence: of the data, an SPDX name or an address. config: the text of the experiment's config.
    Raises UserError where a link of the run is broken: what is published has been checked.
    """
    run = run.resolve()
    root = run.parents[2]
    files = list(_published(run))
    made = [f for f in files if f.suffix == TABLE]
    if not made:
        raise UserError(f"{run}: no tables there; give the folder of a finished experiment.")
    report = audit(made)
    if report.broken:
        raise UserError(
            f"{run}: {len(report.broken)} broken links, so it is not published; the first: "
            f"{report.broken[0]}"
        )
    content = {file.relative_to(root).as_posix(): file.read_bytes() for file in files}
    for card in sorted(run.glob("routers/*/seed*/README.md")):
        place = run.relative_to(root) / CARDS / f"{'-'.join(card.parts[-3:-1])}.md"
        content[place.as_posix()] = card.read_bytes()
    named = {"name": run.name, "version": routelmt.__version__, "records": RECORDS}
    content["README.txt"] = README.format(**named).encode()
    if config is not None:
        content["config.yaml"] = config.encode()
    content[RECORDS] = _dump(_records(report, root, content))
    content[METADATA] = _dump(crate(run.name, content, licence))
    with (
        tables.atomic_path(out) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name, data in sorted(content.items()):
            archive.writestr(zipfile.ZipInfo(name, STAMP), data, zipfile.ZIP_DEFLATED)
    return sorted(content)


def _published(run: Path) -> Iterator[Path]:
    """Tables, views, figures and page of a run."""
    for folder in ("tables", "sweeps", "figures"):
        for file in sorted((run / folder).glob("*")):
            if file.suffix in (TABLE, *RENDERINGS):
                yield file
    yield from (f for f in (run / "overlaps.parquet", run / "page.html") if f.is_file())


def _records(report: Audit, root: Path, inside: Mapping[str, bytes]) -> dict[str, Any]:
    """By path, what is known of everything behind the published tables."""

    def path(place: str | Path) -> str:
        """As records name it: below the folder that the workflow ran in, if it is."""
        absolute = Path(place).absolute()
        below = absolute.is_relative_to(root)
        return absolute.relative_to(root).as_posix() if below else str(place)

    found = {path(place): as_record(a, path) for place, a in report.artifacts.items()}
    return {place: record for place, record in sorted(found.items()) if place not in inside}


def crate(name: str, content: Mapping[str, bytes], licence: str) -> dict[str, Any]:
    """Metadata of an RO-Crate 1.1 (https://w3id.org/ro/crate/1.1) of these files."""
    software = {
        "@id": "#routelmt",
        "@type": "SoftwareApplication",
        "name": "routelmt",
        "softwareVersion": routelmt.__version__,
        "citation": "https://arxiv.org/abs/2604.22520",
    }
    files = [
        {
            "@id": place,
            "@type": "File",
            "name": Path(place).name,
            "contentSize": str(len(data)),
            "encodingFormat": _media_type(place),
            "sha256": sha256(data).hexdigest(),
        }
        for place, data in sorted(content.items())
    ]
    refers = [{"@id": file["@id"]} for file in files]
    action = {
        "@id": "#run",
        "@type": "CreateAction",
        "name": f"experiment {name}",
        "instrument": {"@id": software["@id"]},
        "result": refers,
    }
    dataset = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"routelmt experiment {name}",
        "description": "Which translation requests deserve the large model: tables, figures, page.",
        "datePublished": datetime.now(UTC).date().isoformat(),
        "license": licence,
        "hasPart": refers,
        "mentions": {"@id": action["@id"]},
    }
    descriptor = {
        "@id": METADATA,
        "@type": "CreativeWork",
        "about": {"@id": "./"},
        "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
    }
    graph: Sequence[Mapping[str, Any]] = [descriptor, dataset, software, action, *files]
    return {"@context": "https://w3id.org/ro/crate/1.1/context", "@graph": graph}


def _media_type(place: str) -> str:
    known = {TABLE: "application/vnd.apache.parquet", ".md": "text/markdown",
             ".tex": "application/x-tex", ".yaml": "application/yaml"}  # fmt: skip
    suffix = Path(place).suffix
    return known.get(suffix) or mimetypes.guess_type(place)[0] or "application/octet-stream"


def _dump(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode()
