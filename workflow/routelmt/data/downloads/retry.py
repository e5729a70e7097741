"""Which failed requests are tried again, how often, and how long each waits."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from tenacity import RetryCallState

TRIES = 6
FIRST_WAIT = 1.0  # seconds; doubled after each try
LONGEST_WAIT = 60.0
LONGEST_RETRY_AFTER = 600.0  # a server that asks for more is not waited for
_RATE_LIMIT = re.compile(r"\br=0\s*;\s*t=(\d+)")  # of the `RateLimit` header: nothing left, seconds

Answer = TypeVar("Answer")


class Interrupted(Exception):
    """The connection failed or was cut; what has arrived is kept, and another try may succeed."""


def patiently(what: str, call: Callable[[], Answer]) -> Answer:
    """`call()`, tried again after a lost connection, HTTP 408, 429 or 5xx; `what` is said with it.

    Waits twice as long each time, or as long as the server asks (Retry-After). The last error is
    raised after TRIES tries, or at once when the server asks for more than LONGEST_RETRY_AFTER.
    """
    from tenacity import Retrying, retry_if_exception

    def say(state: RetryCallState) -> None:
        wait = state.next_action.sleep if state.next_action else 0
        print(
            f"{what}: {reason(_error(state))}; try {state.attempt_number + 1} of {TRIES} in "
            f"{wait:.0f} s",
            file=sys.stderr,
        )

    retrying = Retrying(
        retry=retry_if_exception(is_passing), stop=_stop, wait=_wait, before_sleep=say, reraise=True
    )
    return retrying(call)


def is_passing(error: BaseException) -> bool:
    """Whether an error may go away by itself."""
    status = status_of(error)
    if status is not None:
        return status in (408, 429) or status >= 500
    return isinstance(error, Interrupted)


def status_of(error: BaseException) -> int | None:
    """HTTP status of an error of requests or huggingface_hub, None for other errors."""
    response = getattr(error, "response", None)
    return None if response is None else int(response.status_code)


def reason(error: BaseException) -> str:
    """A few words on an error: its HTTP status, or what happened to the connection."""
    status = status_of(error)
    if status is None:
        return str(error)
    names = {429: " (too many requests)", 503: " (unavailable)"}
    asked = retry_after(error)
    return f"HTTP {status}{names.get(status, '')}" + (
        f", the server asks to wait {asked:.0f} s" if asked is not None else ""
    )


def retry_after(error: BaseException) -> float | None:
    """Seconds the server asks to wait, None if it does not say."""
    response = getattr(error, "response", None)
    if response is None:
        return None
    headers: Mapping[str, str] = response.headers
    limit = _RATE_LIMIT.search(headers.get("ratelimit", ""))
    if limit:
        return float(limit[1])
    return _seconds(headers.get("retry-after", "").strip())


def _seconds(value: str) -> float | None:
    """Seconds of a Retry-After header: a number, or the time until a date; None if neither."""
    if value.isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _error(state: RetryCallState) -> BaseException:
    error = state.outcome.exception() if state.outcome else None
    return error or Interrupted("no answer")


def _stop(state: RetryCallState) -> bool:
    asked = retry_after(_error(state))
    return state.attempt_number >= TRIES or (asked is not None and asked > LONGEST_RETRY_AFTER)


def _wait(state: RetryCallState) -> float:
    from tenacity import wait_exponential_jitter

    asked = retry_after(_error(state))
    if asked is not None:
        return asked
    return wait_exponential_jitter(multiplier=FIRST_WAIT, max=LONGEST_WAIT, jitter=FIRST_WAIT)(
        state
    )
