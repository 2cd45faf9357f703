"""The handlers of a consumer, as they are registered.

Owns a handler's name, its type of events and their topic, and how a record becomes the event that it gets. Its
invariant: a name is one handler's, because what has been handled is remembered under it.
"""

from __future__ import annotations

import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import partial
from typing import Any, Callable, Literal, NamedTuple, Optional, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from workflow_events import EventType, WorkflowEvent
from workflow_events.checks import check_topic
from workflow_events.text import text_of, type_name

from .events import IntegrationEvent
from .verdicts import Verdict, not_of_class

#: Where workflow events are, unless `start` is told otherwise: the publish client's default.
WORKFLOW_TOPIC = "workflow-events"

#: Bytes of a handler's name: it is in the headers of dead letters.
MAX_NAME = 64

#: What a handler is registered for.
Handled = Union[type[IntegrationEvent], EventType]


class IntegrationEventHandler(ABC):
    """What handles the events of one type. A consumer takes any object with a `handle`: this base is for type checkers
    and readers."""

    # `Any`: a handler names its own class of events.
    @abstractmethod
    async def handle(self, event: Any) -> None:
        """Handles one event. It returns when it has been handled; docs/integration-events.md says what an exception
        means."""


class NotOfClass(Exception):
    """A record is no event of its handler's class."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.text)
        self.verdict = verdict


class Handler(NamedTuple):
    """A registered handler.

    runs_on_loop: it is a coroutine function; any other function runs in a thread.
    """

    name: str
    kind: Handled
    call: Callable[[Any], Any]
    runs_on_loop: bool

    @property
    def event_type(self) -> str:
        """The type of its events, as in their records; blank when its class cannot say."""
        if isinstance(self.kind, EventType):
            return str(self.kind)
        field = self.kind.model_fields["event_type"]
        if isinstance(field.default, str):
            return field.default or self.kind.__name__
        # Without a default the type is given to each event, and a Literal says which one that is.
        named = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
        return named[0] if len(named) == 1 and isinstance(named[0], str) else ""

    def topic(self) -> str:
        """Where its events are. Raises ValueError when the class cannot say."""
        if isinstance(self.kind, EventType):
            return WORKFLOW_TOPIC
        try:
            # The topic is the class's; an event without its required fields is enough to ask for it. What an event may
            # lack must not change it.
            lacks, has = (self.kind.model_construct(**given).get_topic_name() for given in self._events())
            if lacks != has:
                raise ValueError(f"{text_of(lacks)} without some fields, {text_of(has)} with them")
            topic = check_topic(lacks)
        except Exception as error:
            problem = f"{type_name(error)}: {text_of(error)}"
            raise ValueError(
                f"handler {self.name}: the topic of {self.kind.__name__} depends on the event ({problem}): "
                "give the topics to start()"
            ) from error
        if topic is None:
            raise ValueError(f"handler {self.name}: {self.kind.__name__}.get_topic_name() returned None")
        return topic

    def _events(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The fields of two events, one without the fields that are absent by default and one with them."""
        fields: Mapping[str, Any] = {} if isinstance(self.kind, EventType) else self.kind.model_fields
        given = {"event_type": self.event_type}
        absent = [name for name, field in fields.items() if field.default is None and name != "event_type"]
        return given, {**given, **dict.fromkeys(absent, "given")}

    def read(self, value: bytes) -> Union[IntegrationEvent, WorkflowEvent]:
        """The event of a record. Raises NotOfClass, and what the class's own code raises beside ValueError."""
        try:
            document = json.loads(value)
            if not isinstance(document, Mapping):
                raise ValueError(f"expected an object, found {type(document).__name__}")
            if isinstance(self.kind, EventType):
                return WorkflowEvent.model_validate(document)
            return self.kind.from_dict(document)
        except (ValidationError, ValueError, RecursionError) as error:
            kind = WorkflowEvent if isinstance(self.kind, EventType) else self.kind
            problem = error if isinstance(error, ValueError) else ValueError("it is nested too deeply")
            raise NotOfClass(not_of_class(problem, kind.__name__, _names(kind))) from None


def _names(kind: type[BaseModel]) -> frozenset[str]:
    """The names of the fields of a class, and of those within them, as they may be in a record."""
    names: set[str] = set()
    left: list[Any] = [kind]
    seen: set[int] = set()
    while left:
        found = left.pop()
        if id(found) in seen:
            continue
        seen.add(id(found))
        left += get_args(found)
        # Below Python 3.11, `list[int]` is an instance of `type` and no class.
        if isinstance(found, type) and get_origin(found) is None and issubclass(found, BaseModel):
            for name, field in found.model_fields.items():
                names.update(each for each in (name, field.alias, field.validation_alias) if isinstance(each, str))
                left.append(field.annotation)
    return frozenset(names)


def registered(kind: Handled, called: Any, call: Any, name: Optional[str], taken: Mapping[str, Handler]) -> Handler:
    """Checks a registration.

    called: what its name comes from when there is no `name`. call: what gets the events.

    Raises TypeError and ValueError.
    """
    if not isinstance(kind, EventType) and not (isinstance(kind, type) and issubclass(kind, IntegrationEvent)):
        raise TypeError(f"expected a class of IntegrationEvent, or an EventType, found {kind!r:.200}")
    if not callable(call):
        raise TypeError(f"expected a function, found {call!r:.200}")
    if _makes_generator(call):
        raise TypeError(f"{call!r:.200} is a generator function, of which a call runs nothing: use no `yield`")
    if name is None:
        if isinstance(called, partial) or getattr(called, "__name__", None) == "<lambda>":
            raise ValueError("a handler is known by its name, and a lambda or a partial function has none: give `name`")
        name = getattr(called, "__name__", None) or type(called).__name__
    if not isinstance(name, str) or not name.strip() or len(name.encode("utf-8", "replace")) > MAX_NAME:
        raise ValueError(f"name: expected a text of 1 to {MAX_NAME} bytes, found {name!r:.200}")
    if name in taken:
        raise ValueError(
            f"there is a handler {name} already, for {taken[name].event_type}: a name is one handler's, so give `name`"
        )
    handler = Handler(name, kind, call, _is(inspect.iscoroutinefunction, call))
    if not handler.event_type:
        raise TypeError(
            f"{handler.name}: {kind!r:.200} does not say what event_type its events have: give the field a default"
        )
    return handler


def _makes_generator(call: Any) -> bool:
    return _is(inspect.isgeneratorfunction, call) or _is(inspect.isasyncgenfunction, call)


def _is(asked: Callable[[Any], bool], call: Any) -> bool:
    """About a function, or an object that is called as one."""
    return asked(call) or asked(getattr(call, "__call__", None))  # noqa: B004
