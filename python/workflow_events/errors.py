"""What the package raises.

Code that was written for kafka-python keeps working: once `kafka.errors` has been imported, each error raised here is
also an instance of the class of the same name there. The class is looked up when an error is made, so this package
never imports kafka; an `except` clause that names one of kafka's classes has imported it.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# (the class here, the class in kafka.errors) -> the class that is both.
_both: dict[tuple[type, type], type] = {}


def _for_both(cls: type) -> type:
    """The class to make an instance of."""
    # A subclass, a user's or one that this function made, is used as it is.
    if cls.__module__ != __name__ or "_stands_for" in vars(cls):
        return cls
    errors = sys.modules.get("kafka.errors")
    # NoBrokersAvailable is in kafka-python 1 and 2 only; then it is a KafkaError there.
    names = (own.__name__ for own in cls.__mro__ if own.__module__ == __name__)
    theirs = next((vars(errors)[name] for name in names if name in vars(errors)), None) if errors else None
    if not (isinstance(theirs, type) and issubclass(theirs, BaseException)):
        return cls
    both = _both.get((cls, theirs))
    if both is None:
        try:
            both = type(
                cls.__name__, (cls, theirs), {"__module__": __name__, "__doc__": cls.__doc__, "_stands_for": cls}
            )
        except TypeError:  # A future version's class may not be combinable with ours.
            both = cls
        _both[cls, theirs] = both
    return both


class KafkaError(Exception):
    """An error of Kafka or of the client. The message says what failed, where and what to do."""

    def __new__(cls, *args: Any, **kwargs: Any) -> KafkaError:
        return super().__new__(_for_both(cls), *args)

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
