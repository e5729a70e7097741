"""Scores by a program of the user's own: JSON lines in, a score a line out.

It is started once for each block of distinct triples, without a shell, and given a line {"source",
"hypothesis", "reference"} for each (ASCII; no reference where `reference` is false). It answers
each, in order, with a line: a number or {"score": number}. Standard error goes to the job's log.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from routelmt.errors import UserError
from routelmt.provenance import file_hash
from routelmt.score.registry import command_files
from routelmt.score.scorers import Scored, Triple
from routelmt.strict_json import JsonError, parse

_FIELDS = ("source", "hypothesis", "reference")
_TAIL = 2000  # characters of the program's standard error that an error quotes


def open_scorer(settings: Mapping[str, Any], speed: Mapping[str, Any]) -> CommandScorer:
    """The scorer; the program is not started yet."""
    return CommandScorer(settings)


class CommandScorer:
    """settings: command, version, reference, range (optional), higher_is_better, timeout."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = settings
        self.fields = _FIELDS if settings["reference"] else _FIELDS[:2]

    def signature(self) -> dict[str, Any]:
        """The program's words and version, and SHA-256 of the files that its words name."""
        return {
            "metric": "command",
            **{key: self.settings[key] for key in ("command", "version", "reference")},
            "higher_is_better": self.settings["higher_is_better"],
            "files": {str(file): file_hash(file) for file in command_files(self.settings)},
        }

    def score(self, triples: Sequence[Triple]) -> Scored:
        """Scores in the triples' order, negated if lower is better.

        Raises UserError, with the end of the program's standard error, where it fails, takes too
        long, or does not give each triple one number in its range.
        """
        if not triples:
            return Scored([], [])
        lines = (json.dumps(dict(zip(self.fields, triple, strict=False))) for triple in triples)
        said, complaint = self._run("".join(f"{line}\n" for line in lines).encode())
        try:
            values = [self._value(n, line) for n, line in enumerate(said.splitlines(), 1)]
            if len(values) != len(triples):
                raise UserError(f"{len(values):,} scores for {len(triples):,} lines of input.")
        except UserError as error:
            raise self._failure(f"gave {error}", complaint) from None
        sys.stderr.write(complaint)
        sign = 1.0 if self.settings["higher_is_better"] else -1.0
        return Scored([sign * value for value in values], [False] * len(values))

    def _value(self, number: int, line: bytes) -> float:
        """The score in a line of the answer."""
        try:
            found = parse(line)
        except JsonError as error:
            raise UserError(f"a line that is no score: line {number}, {error}.") from None
        value = found.get("score") if isinstance(found, dict) else found
        if isinstance(value, bool) or not isinstance(value, int | float):
            shown = line[:60].decode(errors="replace")
            raise UserError(
                f"a line that is no score: line {number}, '{shown}'; a number is needed, or an "
                'object such as {"score": 71.5}.'
            )
        low, high = self.settings.get("range") or (value, value)
        if not low <= value <= high:
            raise UserError(
                f"a score outside the range [{low:g}, {high:g}] of the config: line {number}, "
                f"{value:g}. Correct the program or the range."
            )
        return float(value)

    def _run(self, text: bytes) -> tuple[bytes, str]:
        """(standard output, standard error) of the program with `text` as its input."""
        try:
            process = subprocess.Popen(
                self.settings["command"], start_new_session=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
        except OSError as error:
            raise self._failure(f"cannot be started ({error.strerror})", "") from None
        try:
            said, complaint = process.communicate(text, self.settings["timeout"])
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)  # and what it has started
            _, complaint = process.communicate()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            took = f"was not done after {self.settings['timeout']:g} s ('timeout')"
            raise self._failure(took, complaint.decode(errors="replace")) from None
        told = complaint.decode(errors="replace")
        if process.returncode:
            raise self._failure(f"ended with exit status {process.returncode}", told)
        return said, told

    def _failure(self, what: str, complaint: str) -> UserError:
        tail = complaint.strip()[-_TAIL:]
        about = f" Its standard error ends:\n{tail}" if tail else " Its standard error is empty."
        command = shlex.join(self.settings["command"])
        return UserError(f"metric of type command: `{command}` {what.rstrip('.')}.{about}")
