"""ComMT: texts in English and another language by translation task, as JSON lines.

Training files are named after one direction and serve both; most tests have a file each way.
"""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from routelmt.data.complaints import say
from routelmt.data.normalise import normalise
from routelmt.data.parsers import Field
from routelmt.data.rows import read_rows, source_name, upstream_file
from routelmt.errors import UserError

IGNORED = ("src_lang", "tgt_lang", "data_name", "meta_task", "hints", "mt_gen", "shots")


def read(origin: Path, settings: Mapping[str, Any], direction: str) -> dict[str, list[Any]]:
    """Columns of the segments of one split and task; the line is the segment.

    A group is an English text, so that it is one across directions, pairs, tasks and splits.
    """
    task = settings.get("task", "general_trans")
    source, target = direction.split("-")
    path = _path(origin, settings, (source, target), task)
    texts = f"translation.{source}", f"translation.{target}"
    fields = (Field(texts[0], blank=True), Field(texts[1], blank=True), Field("task_type"))
    rows = read_rows(path, fields, "jsonl", IGNORED)
    tasks = rows.columns["task_type"]
    kept = [i for i, found in enumerate(tasks) if found == task]
    if not kept:
        raise UserError(
            f"{path}: no row has task_type '{task}'; there: {', '.join(sorted(set(tasks))[:10])}. "
            "Correct 'task' of the dataset."
        )
    if len(kept) < len(tasks):
        say(f"{path}: {len(tasks) - len(kept):,} rows of other tasks than '{task}' left out")
    english = rows.columns["translation.en"]
    return {
        "segment_id": [str(rows.lines[i]) for i in kept],
        "group_id": [group_of(english[i]) for i in kept],
        "doc_id": [None] * len(kept),
        "domain": [task.removeprefix("domain_").removesuffix("_trans")] * len(kept),
        "source": [rows.columns[texts[0]][i] for i in kept],
        "reference": [rows.columns[texts[1]][i] for i in kept],
        "where": [rows.where(i) for i in kept],
    }


def group_of(english: str) -> str:
    """Name of the group of an English text; one without words is itself, not like the others."""
    text = normalise(english) or english
    return f"commt:{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}"


def _path(origin: Path, settings: Mapping[str, Any], languages: tuple[str, str], task: str) -> Path:
    """File of the direction, else of the reverse one; each may have a suffix before .json."""
    if "en" not in languages:
        raise UserError(
            f"direction {'-'.join(languages)}: ComMT has English on one side. Leave it out of the "
            "dataset's 'directions'."
        )
    other = languages[languages[0] == "en"]
    folder = origin / f"{other}-en"
    for a, b in (languages, languages[::-1]):
        stem = f"{settings['split']}.{a}-{b}.{task}"
        exact = folder / f"{stem}.json"
        if exact.exists():
            return exact
        matches = sorted(folder.glob(f"{glob.escape(stem)}.*.json"))
        if len(matches) > 1:
            names = ", ".join(match.name for match in matches)
            raise UserError(
                f"{folder}: {len(matches)} files fit '{stem}.*.json': {names}. Keep one in "
                f"'sources.{source_name(settings)}.files'."
            )
        if matches:
            return matches[0]
    name = f"{settings['split']}.{'-'.join(languages)}.{task}.json"
    return upstream_file(folder / name, settings)
