"""A mediator, and one that publishes what a command's result says happened.

Owns the choice of what is published after a command, and the promise that no failure to publish fails the command,
which has taken effect by then. The logger is `integration_events`.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, Generic, TypeVar

from workflow_events.interrupts import interrupts

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
        try:
            events = self._events(result)
            if events:
                await self._publisher.publish_many(events)
        except Exception as error:
            if interrupts(error):
                raise
            logger.error("events of %s are not published: %s", type(request).__name__, error, exc_info=True)
        return result

    def _events(self, result: object) -> list[IntegrationEvent]:
        explicit = _listed(result, "integration_events")
        # A domain event that an explicit one stands for is not mapped as well.
        covered = {str(event.event_id) for event in explicit}
        covered |= {event.causation_id for event in explicit if event.causation_id is not None}
        mapped: list[IntegrationEvent] = []
        for event in _listed(result, "domain_events"):
            if str(getattr(event, "event_id", None)) in covered:
                continue
            try:
                mapped += self._mapper.map_all(event)
            except Exception as error:
                if interrupts(error):
                    raise
                logger.error("a %s cannot be mapped: %s", type(event).__name__, error, exc_info=True)
        twice = {type(event).__name__ for event in explicit} & {type(event).__name__ for event in mapped}
        if twice:
            logger.warning(
                "both integration_events and the mapped domain_events of a %s have a %s, and both are published: drop "
                "one of the two, or give the explicit event the domain event's event_id as its causation_id",
                type(result).__name__,
                ", ".join(sorted(twice)),
            )
        return [*explicit, *mapped]


def _listed(result: object, name: str) -> list[Any]:
    events = getattr(result, name, None)
    if events is None:
        return []
    if not isinstance(events, Iterable):
        raise TypeError(f"{type(result).__name__}.{name}: expected a list of events, found {type(events).__name__}")
    return list(events)


def create_integration_event_mediator(
    mediator: Any, publisher: KafkaIntegrationEventPublisher, mapper: EventMapper
) -> IntegrationEventMediator:
    """Wraps a mediator, or anything with an awaitable `send`, so that the events of its results are published."""
    return IntegrationEventMediator(mediator, publisher, mapper)
