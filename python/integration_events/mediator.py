"""A mediator, and one that publishes what a command's result says happened.

Owns the choice of what is published after a command, and the promise that no failure to publish fails the command,
which has taken effect by then. The logger is `integration_events`.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, Generic, Optional, TypeVar

from pydantic import BaseModel
from workflow_events.interrupts import call_or, interrupts
from workflow_events.log import log_lost
from workflow_events.text import text_of
from workflow_events.wire import encode_json

from .events import IntegrationEvent
from .mapper import EventMapper
from .publisher import KafkaIntegrationEventPublisher

logger = logging.getLogger("integration_events")

_Result = TypeVar("_Result")
_Request = TypeVar("_Request")


class Request(Generic[_Result]):
    """A command or a query. A mediator takes any object: this base only names the result for type checkers."""


class RequestHandler(ABC, Generic[_Request, _Result]):
    """What answers one kind of request."""

    @abstractmethod
    async def handle(self, request: _Request) -> _Result:
        """The answer."""


class Mediator:
    """Sends a request to the handler of its class."""

    def __init__(self) -> None:
        self._handlers: dict[type, RequestHandler[Any, Any]] = {}

    def register_handler(self, request_type: type, handler: RequestHandler[Any, Any]) -> None:
        """Has a handler answer the requests of a class. Raises ValueError when the class has one already."""
        if not callable(getattr(handler, "handle", None)):
            raise TypeError(f"handler: expected an object with a `handle` method, found {handler!r}")
        if request_type in self._handlers:
            raise ValueError(f"{request_type.__name__} has a handler already: {self._handlers[request_type]!r}")
        self._handlers[request_type] = handler

    async def send(self, request: Any) -> Any:
        """The answer of the request's handler. Raises LookupError without one, and what the handler raises."""
        handler = self._handlers.get(type(request))
        if handler is None:
            raise LookupError(f"no handler is registered for {type(request).__name__}: call register_handler first")
        return await handler.handle(request)


class IntegrationEventMediator:
    """A mediator that publishes the events of a result, once its command has succeeded."""

    def __init__(self, mediator: Any, publisher: KafkaIntegrationEventPublisher, mapper: EventMapper) -> None:
        self._mediator = mediator
        self._publisher = publisher
        self._mapper = mapper

    async def send(self, request: Any) -> Any:
        """Sends the request, and publishes `integration_events` and the mapped `domain_events` of its result.

        Raises RuntimeError before the command when the publisher is not started. A failure to publish is logged, and
        raises nothing.
        """
        if not self._publisher.is_started:
            raise RuntimeError("the publisher is not started: await its start() before the first command")
        result = await self._mediator.send(request)
        events: list[IntegrationEvent] = []
        try:
            events = self._events(result)
            if events:
                await self._publisher.publish_many(events)
        except Exception as error:
            if interrupts(error):
                raise
            logger.error("events of %s are not published: %s", type(request).__name__, text_of(error), exc_info=True)
            # With a summary the client had the events, and has logged those that are lost.
            if getattr(error, "summary", None) is None:
                for event in events:
                    _log_lost(event, type(request).__name__, error)
        return result

    def _events(self, result: object) -> list[IntegrationEvent]:
        explicit = _listed(result, "integration_events")
        ids = {_id(event, "event_id") for event in explicit} - {None}
        # For each domain event that explicit ones stand for, their classes: it is not mapped to these as well.
        covered: dict[Optional[str], set[type]] = {}
        for event in explicit:
            for name in ("event_id", "causation_id"):
                covered.setdefault(_id(event, name), set()).add(type(event))
        covered.pop(None, None)
        mapped: list[IntegrationEvent] = []
        for event in _listed(result, "domain_events"):
            mapped += self._mapped(event, covered.get(_id(event, "event_id"), set()), ids)
        twice = {type(event).__name__ for event in explicit} & {type(event).__name__ for event in mapped}
        if twice:
            logger.warning(
                "both integration_events and the mapped domain_events of a %s have a %s, and both are published: drop "
                "one of the two, or give the explicit event the domain event's event_id as its causation_id",
                type(result).__name__,
                ", ".join(sorted(twice)),
            )
        return [*explicit, *mapped]

    def _mapped(self, event: object, without: set[type], ids: set[Optional[str]]) -> list[IntegrationEvent]:
        """What a domain event is mapped to, without these classes and ids."""
        try:
            found = self._mapper._map_without(event, without)
        except Exception as error:
            if interrupts(error):
                raise
            logger.error("a %s cannot be mapped: %s", type(event).__name__, text_of(error), exc_info=True)
            return []
        kept = [each for each in found if _id(each, "event_id") not in ids]
        left = {type(each) for each in found if each not in kept}
        left |= {kind for kind in self._mapper._targets(type(event)) if kind in without}
        if left:
            names = ", ".join(sorted(kind.__name__ for kind in left))
            logger.info("a %s is not mapped to %s: integration_events names it", type(event).__name__, names)
        return kept


def _listed(result: object, name: str) -> list[Any]:
    """The events of a result. What is no list of them is logged, and keeps the others from nothing."""
    try:
        events = getattr(result, name, None)
        if events is None:
            return []
        if isinstance(events, BaseModel):  # It could be iterated: over its fields.
            return [events]
        if isinstance(events, (str, bytes, Mapping)) or not isinstance(events, Iterable):
            raise TypeError(f"expected a list of events, found {type(events).__name__}")
        return list(events)
    except Exception as error:
        if interrupts(error):
            raise
        logger.error("%s.%s: %s", type(result).__name__, name, text_of(error), exc_info=True)
        return []


def _id(event: object, name: str) -> Optional[str]:
    """An id of an event as text. The event may be anything."""
    found = call_or(None, getattr, event, name, None)
    return None if found is None else text_of(found)


def _log_lost(event: IntegrationEvent, command: str, error: Exception) -> None:
    envelope = call_or(None, lambda: encode_json(event.to_dict()).decode())
    text = "EVENT LOST: a %s of %s was not handed over: %s. Keep it, and publish it again: %s"
    about = (type(event).__name__, command, text_of(error), text_of(event) if envelope is None else envelope)
    log_lost(text, *about, logger=logger)


def create_integration_event_mediator(
    mediator: Any, publisher: KafkaIntegrationEventPublisher, mapper: EventMapper
) -> IntegrationEventMediator:
    """Wraps a mediator, or anything with an awaitable `send`, so that the events of its results are published."""
    return IntegrationEventMediator(mediator, publisher, mapper)
