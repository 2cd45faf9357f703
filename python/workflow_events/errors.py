"""What the package raises.

Code that was written for kafka-python or aiokafka keeps working: once `kafka.errors` or `aiokafka.errors` has been
imported, each error raised here is also an instance of the class of the same name there. The class is looked up when an
error is made, so this package imports neither; an `except` clause that names one of their classes has imported it.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# The modules whose classes are taken, and those whose classes become theirs too.
_THEIRS = ("kafka.errors", "aiokafka.errors")
_OURS = (__name__, "integration_events.errors")

# (the class here, the class there) -> the class that is both.
_both: dict[tuple[type, type], type] = {}


def _for_all(cls: type) -> type:
    """The class to make an instance of."""
    # A subclass, a user's or one that this function made, is used as it is.
    if cls.__module__ not in _OURS or "_stands_for" in vars(cls):
        return cls
    combined = cls
    for module in _THEIRS:
        errors = sys.modules.get(module)
        # NoBrokersAvailable is in kafka-python 1 and 2 only; then it is a KafkaError there.
        names = (own.__name__ for own in cls.__mro__ if own.__module__ in _OURS)
        theirs = next((vars(errors)[name] for name in names if name in vars(errors)), None) if errors else None
        if isinstance(theirs, type) and issubclass(theirs, BaseException):
            combined = _for_both(combined, theirs, cls)
    return combined


def _for_both(ours: type, theirs: type, cls: type) -> type:
    """A class that is ours and theirs, and stands for `cls`."""
    both = _both.get((ours, theirs))
    if both is None:
        about = {"__module__": cls.__module__, "__doc__": cls.__doc__, "_stands_for": cls}
        try:
            both = type(cls.__name__, (ours, theirs), about)
        except TypeError:  # A future version's class may not be combinable with ours.
            both = ours
        _both[ours, theirs] = both
    return both


class KafkaError(Exception):
    """An error of Kafka or of the client. The message says what failed, where and what to do."""

    def __new__(cls, *args: Any, **kwargs: Any) -> KafkaError:
        return super().__new__(_for_all(cls), *args)

    def __init__(self, message: object = "", *, kind: str = "kafka") -> None:
        Exception.__init__(self, message)
        self.kind = kind
        """A stable word for labels."""

    def __str__(self) -> str:
        return Exception.__str__(self)

    def __reduce__(self) -> tuple[Any, ...]:
        # The combined class cannot be imported by its name.
        return getattr(type(self), "_stands_for", type(self)), self.args, self.__dict__


class NoBrokersAvailable(KafkaError):
    """No broker answered within `connect_timeout`."""


class KafkaTimeoutError(KafkaError):
    """A call did not end within its time-out. What was pending is still pending."""


class KafkaConfigurationError(KafkaError, ValueError):
    """A setting is wrong. The message names each one: the parameter, and the variable that it came from."""
