"""What the end of a handler's call means for its event.

Owns the exceptions that a handler may answer with, and the text of any other one: its type, its message and its causes,
in at most 1 KiB. Values that pydantic refused are in no text: they are the contents of an event.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import NamedTuple, Optional

from pydantic import ValidationError
from workflow_events.checks import seconds
from workflow_events.text import text_of, type_name

#: Bytes of the text of an error, as in the header of a dead letter.
MAX_TEXT = 1024
#: Seconds that an event may be put off for.
MAX_LATER = 86_400.0
#: Exceptions of a chain of causes, and fields of an event that is no event of its class.
_MOST = 4


class Reject(Exception):
    """Raised by a handler: this event can never be handled. It is a dead letter at once.

    text: why, for the dead letter and the log. It must hold no secret.
    """

    def __init__(self, text: str = "") -> None:
        super().__init__(text)


class RetryLater(Exception):
    """Raised by a handler: this event is to come again after so many seconds, at most a day. It counts as no failure.

    text: why, for the log.
    """

    def __init__(self, seconds: float, text: str = "") -> None:
        super().__init__(seconds, text)
        self.seconds = seconds

    def __str__(self) -> str:
        return str(self.args[1])


class Verdict(NamedTuple):
    """What the native consumer is told about a call.

    word: `done`, `retry`, `later`, `reject`, `invalid_value` or `missing_field`.
    error_type: the class of the exception, `timeout`, `no_thread`, or the word of a record that is no event of the
        class; None when nothing is wrong.
    """

    word: str
    text: str = ""
    seconds: float = 0.0
    error_type: Optional[str] = None


DONE = Verdict("done")
#: No thread was free for a plain function: it was not called, so it has not failed.
NO_THREAD = Verdict(
    "later",
    "it was not called, because no thread is free: calls that were given up keep theirs until they return",
    1.0,
    "no_thread",
)
#: Somebody else than the consumer cancelled the call: the event comes again, and nothing has failed.
CANCELLED = Verdict("later", "the call was cancelled", 1.0)


def verdict_of(error: BaseException) -> Verdict:
    """What an exception of a handler means."""
    if isinstance(error, Reject):
        return Verdict("reject", _short(text_of(error)) or "the handler rejected it", error_type=type_name(error))
    if isinstance(error, RetryLater):
        try:
            return Verdict("later", _short(text_of(error)), min(seconds(error.seconds), MAX_LATER))
        except TypeError:
            problem = f"RetryLater: expected seconds as a number, found {text_of(error.seconds)}"
            return Verdict("retry", _short(problem), error_type="RetryLater")
    return Verdict("retry", error_text(error), error_type=type_name(error))


def timed_out(limit: float) -> Verdict:
    """The call took longer than `handler_timeout`."""
    return Verdict("retry", f"the call took longer than handler_timeout, {limit:g} s", error_type="timeout")


def unreadable(error: BaseException) -> Verdict:
    """What an exception means that cannot be looked at."""
    name = type_name(error)
    return Verdict("retry", f"{_short(name)[:200]}, whose text cannot be read", error_type=name)


def refused_values(error: BaseException) -> bool:
    """Whether the text of a traceback would have values that pydantic refused: those of an event, as a rule."""
    left: list[Optional[BaseException]] = [error]
    seen: set[int] = set()
    while left:
        found = left.pop()
        if found is None or id(found) in seen:
            continue
        if isinstance(found, ValidationError):
            return True
        seen.add(id(found))
        # An ExceptionGroup has `exceptions`.
        left += [found.__cause__, found.__context__, *_group(found)]
    return False


def _group(error: BaseException) -> list[BaseException]:
    found = getattr(error, "exceptions", ())
    return [one for one in found if isinstance(one, BaseException)] if isinstance(found, (tuple, list)) else []


def not_of_class(error: ValueError, name: str, names: Collection[str] = ()) -> Verdict:
    """A record is no event of its handler's class: the fields that are wrong, without their values.

    names: of all fields of the class, and of those within them.
    """
    word = "invalid_value"
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        word = "missing_field" if first["type"] == "missing" else word
    return Verdict(word, _short(f"it is no {name}: {_described(error, names)}"), error_type=word)


def error_text(error: BaseException) -> str:
    """The type and the message of an exception, and of what caused it, in at most `MAX_TEXT` bytes."""
    texts: list[str] = []
    following: Optional[BaseException] = error
    seen: set[int] = set()
    while following is not None and id(following) not in seen and len(texts) < _MOST:
        seen.add(id(following))
        message = _described(following)
        texts.append(type_name(following) + (f": {message}" if message else ""))
        hidden = following.__suppress_context__
        following = following.__cause__ or (None if hidden else following.__context__)
    return _short("; caused by ".join(texts))


def _described(error: BaseException, names: Collection[str] = ()) -> str:
    if isinstance(error, ValidationError):
        wrong = error.errors(include_url=False, include_context=False, include_input=False)
        fields = [f"{_path(one['loc'], names)}: {_expected(one['type'], one['msg'])}" for one in wrong[:_MOST]]
        more = f"; and {len(wrong) - _MOST} more" if len(wrong) > _MOST else ""
        return "; ".join(fields) + more
    if isinstance(error, asyncio.CancelledError):
        return "raised in the handler by something that it awaited"
    return text_of(error)


def _path(location: tuple[object, ...], names: Collection[str]) -> str:
    """Where a value is, as far as the names are those of fields: the key of a mapping is a value, too.

    names: of fields. Without them, the first part is taken for one.
    """
    parts: list[str] = []
    for part in location:
        if not (isinstance(part, int) or part in names or not (names or parts)):
            parts.append("...")
            break
        parts.append(str(part))
    return ".".join(parts)[:200] or "the event"


def _expected(kind: str, message: str) -> str:
    # Other messages may quote the value: those of validators, and of texts that cannot be parsed.
    return message if kind == "missing" or kind.endswith("_type") else f"not valid ({kind})"


def _short(text: str) -> str:
    encoded = text.encode("utf-8", "replace")
    return text if len(encoded) <= MAX_TEXT else encoded[: MAX_TEXT - 3].decode("utf-8", "ignore") + "..."
