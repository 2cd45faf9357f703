"""The mediator, and what is published after a command."""

import asyncio
import json
import logging
import uuid
from typing import Any, List, Optional

import pytest
from integration_events import (
    DomainEvent,
    EventMapper,
    IntegrationEvent,
    KafkaConfig,
    KafkaError,
    KafkaIntegrationEventPublisher,
    Mediator,
    RequestHandler,
    create_integration_event_mediator,
)


class Created(IntegrationEvent):
    email: str = ""


class Deleted(IntegrationEvent):
    pass


class Broken(IntegrationEvent):
    lacking: int


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


def send(answer: Any, publisher: Publisher, mappings: Optional[EventMapper] = None) -> Any:
    base = Mediator()
    base.register_handler(Command, Answer(answer))
    mediator = create_integration_event_mediator(base, publisher, mappings or mapper())  # type: ignore[arg-type]
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


def test_only_the_class_of_the_explicit_event_is_left_out_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    mappings = mapper()
    mappings.register_mapping(CreatedInside, Deleted)
    mappings.register_mapping(CreatedInside, Broken)
    domain = CreatedInside()
    all_ids = {type(event): event.event_id for event in mappings._map_without(domain, {Broken})}
    caplog.set_level(logging.INFO)
    publisher = Publisher()
    # Broken cannot be mapped, and need not be.
    explicit = [Created(causation_id=domain.event_id), Broken(causation_id=domain.event_id, lacking=1)]
    send(Result([domain], explicit), publisher, mappings)
    assert [type(event) for event in publisher.published] == [Created, Broken, Deleted]
    assert publisher.published[2].event_id == all_ids[Deleted], "as without the explicit events"
    (record,) = caplog.records
    said = "a CreatedInside is not mapped to Broken, Created: integration_events names it"
    assert (record.levelno, record.getMessage()) == (logging.INFO, said)


def test_an_id_that_an_explicit_event_has_is_not_published_twice(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    domain, publisher = CreatedInside(), Publisher()
    explicit = Deleted(event_id=domain.event_id)
    send(Result([domain], [explicit]), publisher)
    assert publisher.published == [explicit]
    assert "a CreatedInside is not mapped to Created" in caplog.text


def test_one_event_is_as_a_list_of_it(caplog: pytest.LogCaptureFixture) -> None:
    publisher, domain, explicit = Publisher(), CreatedInside(), Deleted()
    send(Result(domain, explicit), publisher)
    assert [event.event_id for event in publisher.published] == [explicit.event_id, domain.event_id]
    assert caplog.records == []


class Unreadable:
    @property
    def event_id(self) -> str:
        raise RuntimeError("no id")


@pytest.mark.parametrize("stranger", [7, None, "text", {"event_id": 1}, Unreadable()])
def test_a_stranger_among_the_events_keeps_no_other_from_being_handed_over(stranger: Any) -> None:
    publisher, domain, explicit = Publisher(), CreatedInside(), Deleted()
    send(Result([stranger, domain], [stranger, explicit]), publisher)
    assert publisher.published[0] is stranger, "the publisher says what is wrong with it"
    assert [event.event_id for event in publisher.published[1:]] == [explicit.event_id, domain.event_id]


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
    error.summary = "the client had the events"  # type: ignore[attr-defined]
    assert send(result, Publisher(error)) is result
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == f"events of Command are not published: {error}"


def test_events_of_a_command_during_which_the_publisher_stops_are_whole_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    domain, explicit = CreatedInside(email="a@example.com"), Deleted(aggregate_id=7)
    result = Result([domain], [explicit])

    async def scene() -> None:
        config = KafkaConfig(bootstrap_servers="127.0.0.1:1", connect_timeout=None)
        async with KafkaIntegrationEventPublisher(config) as publisher:

            class Stopping(RequestHandler[Any, Any]):
                async def handle(self, request: Any) -> Any:
                    await publisher.stop()
                    return result

            base = Mediator()
            base.register_handler(Command, Stopping())
            assert await create_integration_event_mediator(base, publisher, mapper()).send(Command()) is result

    asyncio.run(scene())
    lost = [record.getMessage() for record in caplog.records if record.levelno == logging.CRITICAL]
    assert len(lost) == 2, caplog.text
    for line, event in zip(lost, (explicit, mapper().map(domain))):
        assert event is not None
        said, envelope = line.split(". Keep it, and publish it again: ")
        assert said.startswith(f"EVENT LOST: a {type(event).__name__} of Command was not handed over: the publisher is")
        assert json.loads(envelope) == event.to_dict()


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
    publisher.published.clear()
    for wrong in (7, "text", {"a": 1}):
        send(Result(wrong, [explicit]), publisher)
        send(Result([good], wrong), publisher)
    assert [event.event_id for event in publisher.published] == [explicit.event_id, good.event_id] * 3


def test_an_id_of_another_form_is_no_reason_to_fail() -> None:
    class Plain:
        event_id = "not a UUID"

    publisher = Publisher()
    result = Result([Plain()], [Created(causation_id=uuid.uuid4())])
    assert send(result, publisher) is result
    assert len(publisher.published) == 1
