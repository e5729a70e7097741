"""What went wrong with a download, and what its user can do about it."""

from __future__ import annotations

from typing import NamedTuple

from routelmt.data.downloads.retry import reason, status_of


class Asked(NamedTuple):
    """What was asked of the Hub for a source; `gated` as its entry says."""

    source: str
    repository: str
    revision: str
    gated: bool
    path: str = ""


def elsewhere(source: str) -> str:
    """What to do on a machine that cannot download."""
    return (
        "Without internet here: run `python -m routelmt fetch --all` on a node that has it, or set "
        f"'sources.{source}.local: FOLDER' in the config."
    )


def failed(source: str, what: str, error: BaseException) -> str:
    """A download that did not come through, for other reasons than the entry."""
    return (
        f"source '{source}': {what} could not be downloaded: {reason(error)}. What has arrived is "
        f"kept; run it again to go on. {elsewhere(source)}"
    )


def explain_hub(error: BaseException, asked: Asked, endpoint: str) -> str:
    """An error of the Hub's client in words; never with the token, which servers may echo."""
    from huggingface_hub import errors, get_token

    text = failed(asked.source, f"{asked.path or asked.repository} of {endpoint}", error)
    if isinstance(error, errors.RevisionNotFoundError):
        text = _no_revision(asked)
    elif isinstance(error, errors.EntryNotFoundError):
        text = _no_file(asked)
    elif "invalid credentials" in str(error).lower():
        text = _bad_token(asked)
    elif isinstance(error, errors.GatedRepoError) or _is_refusal(error, asked):
        text = _gated(asked, error, get_token() is not None)
    elif isinstance(error, errors.RepositoryNotFoundError):
        text = _no_repository(asked, error)
    token = get_token()
    return text.replace(token, "(token)") if token else text


def page(repository: str) -> str:
    """Where people see a dataset repository and accept its licence."""
    return f"https://huggingface.co/datasets/{repository}"


def _is_refusal(error: BaseException, asked: Asked) -> bool:
    from huggingface_hub.errors import RepositoryNotFoundError

    absent = isinstance(error, RepositoryNotFoundError) and not asked.gated
    return status_of(error) in (401, 403) and not absent


def _gated(asked: Asked, error: BaseException, token: bool) -> str:
    said = (getattr(error, "server_message", None) or "").strip().partition("\n")[0]
    return (
        f"source '{asked.source}': the Hub gives {asked.repository} only to those who accepted its "
        f"licence (HTTP {status_of(error)}{f', {said!r}' if said else ''}). "
        + ("The token in use has no access." if token else "No token was found.")
        + f" Log in and accept the licence on {page(asked.repository)}, then set HF_TOKEN to a "
        f"token of that account that may read it, or run `hf auth login`. {elsewhere(asked.source)}"
    )


def _bad_token(asked: Asked) -> str:
    return (
        f"source '{asked.source}': the Hub does not accept the token (HTTP 401). Set HF_TOKEN to a "
        f"valid one, or unset it and run `hf auth login`. {elsewhere(asked.source)}"
    )


def _no_repository(asked: Asked, error: BaseException) -> str:
    return (
        f"source '{asked.source}': the Hub has no dataset '{asked.repository}', or hides it from "
        f"whoever has no access (HTTP {status_of(error)}). Correct 'repository' of "
        f"sources.{asked.source}; if {page(asked.repository)} shows it to you, set HF_TOKEN. "
        f"{elsewhere(asked.source)}"
    )


def _no_revision(asked: Asked) -> str:
    return (
        f"source '{asked.source}': {asked.repository} has no revision '{asked.revision}'. Correct "
        f"'revision' of sources.{asked.source}; {page(asked.repository)}/commits/main lists the "
        f"commits. {elsewhere(asked.source)}"
    )


def _no_file(asked: Asked) -> str:
    return (
        f"source '{asked.source}': {asked.repository} has no file {asked.path} at revision "
        f"{asked.revision}. Correct 'files' of sources.{asked.source}. {elsewhere(asked.source)}"
    )
