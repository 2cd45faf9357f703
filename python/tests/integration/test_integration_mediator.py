"""The mediator, and what is published after a command."""

import asyncio
import logging
import uuid
from typing import Any, List, Optional

import pytest
from integration_events import (
    DomainEvent,
    EventMapper,
    IntegrationEvent,
    KafkaError,
    Mediator,
    RequestHandler,
    create_integration_event_mediator,
)


class Created(IntegrationEvent):
    email: str = ""


class Deleted(IntegrationEvent):
    pass


class CreatedInside(DomainEvent):
    email: str = ""


class Result:
    def __init__(self, domain_events: Any = None, integration_events: Any = None) -> None:
        self.domain_events = domain_events
        self.integration_events = integration_events


class Answer(RequestHandler[Any, Any]):
    """Answers with what it was made with, and counts."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.calls = 0

    async def handle(self, request: Any) -> Any:
        self.calls += 1
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


class Publisher:
    """Keeps what it is given, or raises."""

    def __init__(self, error: Optional[Exception] = None, is_started: bool = True) -> None:
        self.error = error
        self.is_started = is_started
        self.published: List[IntegrationEvent] = []

    async def publish_many(self, events: List[IntegrationEvent]) -> None:
        if self.error is not None:
            raise self.error
        self.published += events


class Command:
    pass


def mapper() -> EventMapper:
    mapper = EventMapper()
    mapper.register_mapping(CreatedInside, Created)
    return mapper


def send(answer: Any, publisher: Publisher) -> Any:
    base = Mediator()
    base.register_handler(Command, Answer(answer))
    mediator = create_integration_event_mediator(base, publisher, mapper())  # type: ignore[arg-type]
    return asyncio.run(mediator.send(Command()))


def test_a_request_goes_to_the_handler_of_its_class() -> None:
    mediator, handler = Mediator(), Answer(7)
    with pytest.raises(LookupError, match="no handler is registered for Command: call register_handler first"):
        asyncio.run(mediator.send(Command()))
    mediator.register_handler(Command, handler)
    assert asyncio.run(mediator.send(Command())) == 7
    with pytest.raises(ValueError, match="Command has a handler already"):
        mediator.register_handler(Command, handler)
    with pytest.raises(TypeError, match="expected an object with a `handle` method"):
        mediator.register_handler(int, 7)  # type: ignore[arg-type]


def test_the_events_of_a_result_are_published_and_the_result_is_returned(caplog: pytest.LogCaptureFixture) -> None:
    domain, explicit, publisher = CreatedInside(email="a@example.com"), Deleted(), Publisher()
    unmapped = DomainEvent()
    result = Result([domain, unmapped], [explicit])
    assert send(result, publisher) is result
    assert [type(event) for event in publisher.published] == [Deleted, Created]
    assert publisher.published[1].event_id == domain.event_id
    assert caplog.records == []


@pytest.mark.parametrize("result", [None, 7, "text", Result(), Result([], [])])
def test_a_result_without_events_publishes_nothing(result: Any) -> None:
    publisher = Publisher(AssertionError("it was asked"))
    assert send(result, publisher) is result


@pytest.mark.parametrize("named_by", ["event_id", "causation_id"])
def test_a_domain_event_that_an_explicit_event_names_is_not_mapped(
    named_by: str, caplog: pytest.LogCaptureFixture
) -> None:
    domain, publisher = CreatedInside(), Publisher()
    explicit = Created(**{named_by: domain.event_id})
    send(Result([domain], [explicit]), publisher)
    assert publisher.published == [explicit]
    assert caplog.records == []


def test_one_class_from_both_lists_is_published_twice_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    publisher = Publisher()
    send(Result([CreatedInside()], [Created()]), publisher)
    assert [type(event) for event in publisher.published] == [Created, Created]
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("integration_events", logging.WARNING)
    assert "a Result have a Created" in record.getMessage() and "causation_id" in record.getMessage()


def test_a_publisher_that_is_not_started_is_an_error_before_the_command() -> None:
    base, handler = Mediator(), Answer(7)
    base.register_handler(Command, handler)
    mediator = create_integration_event_mediator(
        base,
        Publisher(is_started=False),  # type: ignore[arg-type]
        mapper(),
    )
    with pytest.raises(RuntimeError, match="the publisher is not started"):
        asyncio.run(mediator.send(Command()))
    assert handler.calls == 0


def test_a_command_that_fails_publishes_nothing() -> None:
    with pytest.raises(KeyError):
        send(KeyError("no"), Publisher(AssertionError("it was asked")))


@pytest.mark.parametrize("error", [KafkaError("in neither place"), RuntimeError("stopped meanwhile"), ValueError("no")])
def test_a_failure_to_publish_is_logged_and_fails_no_command(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    result = Result([CreatedInside()])
    assert send(result, Publisher(error)) is result
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == f"events of Command are not published: {error}"


def test_an_event_that_cannot_be_mapped_keeps_no_other_from_being_published(caplog: pytest.LogCaptureFixture) -> None:
    class Wrong(CreatedInside):
        email: Any = 7

    publisher, explicit, good = Publisher(), Deleted(), CreatedInside()
    send(Result([Wrong(), good], [explicit]), publisher)
    assert [event.event_id for event in publisher.published] == [explicit.event_id, good.event_id]
    (record,) = caplog.records
    assert record.getMessage().startswith("a Wrong cannot be mapped: ")
    caplog.clear()
    result = Result(domain_events=7)
    assert send(result, publisher) is result
    assert "Result.domain_events: expected a list of events, found int" in caplog.records[0].getMessage()


def test_an_id_of_another_form_is_no_reason_to_fail() -> None:
    class Plain:
        event_id = "not a UUID"

    publisher = Publisher()
    result = Result([Plain()], [Created(causation_id=uuid.uuid4())])
    assert send(result, publisher) is result
    assert len(publisher.published) == 1
