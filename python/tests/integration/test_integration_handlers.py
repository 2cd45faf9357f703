"""Handlers without a Kafka: their registration, their names, what their exceptions become."""

import functools
import json
from typing import Any, Callable, Dict, List, Literal, Optional

import pytest
from integration_events import (
    IntegrationEvent,
    IntegrationEventHandler,
    KafkaConfig,
    KafkaConfigurationError,
    KafkaError,
    KafkaIntegrationEventConsumer,
    Reject,
    RetryLater,
)
from integration_events.handlers import NotOfClass, registered
from integration_events.verdicts import MAX_TEXT, error_text, verdict_of
from pydantic import BaseModel, Field, ValidationError, field_validator
from workflow_events import EventType


class Noted(IntegrationEvent):
    text: str
    number: int = 0


class Versioned(IntegrationEvent):
    event_type: str = "noted.v2"
    to: str = ""

    def get_topic_name(self) -> str:
        return "noted.v2"


class Scattered(IntegrationEvent):
    tenant: str

    def get_topic_name(self) -> str:
        return f"events.{self.tenant}"


class OfOneType(IntegrationEvent):
    event_type: Literal["noted.v3"]  # type: ignore[assignment]

    def get_topic_name(self) -> str:
        return f"events.{self.event_type}"


class OfTypes(IntegrationEvent):
    event_type: Literal["noted.v4", "noted.v5"]  # type: ignore[assignment]


class OfAggregates(IntegrationEvent):
    def get_topic_name(self) -> str:
        return f"events.{self.aggregate_type}"


class Handles(IntegrationEventHandler):
    async def handle(self, event: Noted) -> None:
        """Nothing."""


class Callable_:
    def __call__(self, event: Noted) -> None:
        """Nothing."""


def note(event: Noted) -> None:
    """Nothing."""


async def note_soon(event: Noted) -> None:
    """Nothing."""


def consumer() -> KafkaIntegrationEventConsumer:
    return KafkaIntegrationEventConsumer(KafkaConfig(service_name="tests"))


def test_a_name_is_that_of_the_class_or_function_or_the_given_one() -> None:
    used = consumer()
    used.register_handler(Noted, Handles())
    used.register_handler(Versioned, Handles(), name="versions")
    used.register_handler_function(Noted, note)
    used.register_handler_function(Noted, note_soon)
    used.register_handler_function(Noted, Handles().handle)
    used.register_handler_function(Noted, Callable_())
    used.register_handler_function(Noted, lambda event: None, name="any")
    assert list(used._handlers) == ["Handles", "versions", "note", "note_soon", "handle", "Callable_", "any"]
    on_loop = {name for name, handler in used._handlers.items() if handler.runs_on_loop}
    assert on_loop == {"Handles", "versions", "note_soon", "handle"}


@pytest.mark.parametrize(
    ("register", "error", "message"),
    [
        (lambda used: used.register_handler_function(Noted, lambda event: None), ValueError, "a lambda .* give `name`"),
        (lambda used: used.register_handler_function(Noted, functools.partial(note)), ValueError, "give `name`"),
        (lambda used: used.register_handler_function(Noted, note), ValueError, "there is a handler note already"),
        (lambda used: used.register_handler(Noted, Handles(), name="note"), ValueError, "a handler note already"),
        (lambda used: used.register_handler(Noted, Handles(), name=" "), ValueError, "expected a text of 1 to 64"),
        (lambda used: used.register_handler(Noted, Handles(), name="ä" * 33), ValueError, "expected a text of 1 to 64"),
        (lambda used: used.register_handler(Noted, Handles), TypeError, "found the class Handles: make one of it"),
        (lambda used: used.register_handler(Noted, note), TypeError, "an object with a `handle` method"),
        (lambda used: used.register_handler_function(Noted, Handles()), TypeError, "expected a function"),
        (lambda used: used.register_handler_function("Noted", note_soon), TypeError, "a class of IntegrationEvent"),
        (lambda used: used.register_handler_function(Handles, note_soon), TypeError, "a class of IntegrationEvent"),
        (
            lambda used: used.register_handler_function(OfTypes, note_soon),
            TypeError,
            "OfTypes.* give the field a default",
        ),
    ],
)
def test_a_wrong_registration_says_what_is_wrong(register: Callable[[Any], None], error: type, message: str) -> None:
    used = consumer()
    used.register_handler_function(Noted, note)
    with pytest.raises(error, match=message):
        register(used)
    assert list(used._handlers) == ["note"]


def test_the_topics_are_those_of_the_types() -> None:
    used = consumer()
    used.register_handler_function(Noted, note)
    used.register_handler_function(Versioned, note_soon)
    used.register_handler_function(EventType.WORKFLOW_COMPLETED, note_soon, name="completed")
    used.register_handler_function(EventType.WORKFLOW_FAILED, note_soon, name="failed")
    assert used._topics(None) == ["integration-events.noted", "noted.v2", "workflow-events"]
    assert used._topics("one") == ["one"] and used._topics(("a", "b", "a")) == ["a", "b"]
    types = [handler.event_type for handler in used._handlers.values()]
    assert types == ["Noted", "noted.v2", "WORKFLOW_COMPLETED", "WORKFLOW_FAILED"]
    for wrong in ([], ["no topic"], [None], [7]):
        with pytest.raises(ValueError, match="topic"):
            used._topics(wrong)  # type: ignore[arg-type]
    for kind in (Scattered, OfAggregates):
        used = consumer()
        used.register_handler_function(kind, note_soon)
        match = f"the topic of {kind.__name__} depends on the event .* give the topics to start"
        with pytest.raises(ValueError, match=match):
            used._topics(None)
    used = consumer()
    used.register_handler_function(OfOneType, note_soon)
    assert used._topics(None) == ["events.noted.v3"] and used._handlers["note_soon"].event_type == "noted.v3"


def test_a_consumer_needs_a_group() -> None:
    with pytest.raises(
        KafkaConfigurationError, match="give consumer_group_id .*KAFKA_CONSUMER_GROUP_ID.* or service_name"
    ):
        KafkaIntegrationEventConsumer(KafkaConfig())
    assert KafkaIntegrationEventConsumer(KafkaConfig(service_name="a"))._group == "a"
    assert KafkaIntegrationEventConsumer(KafkaConfig(consumer_group_id="b"))._group == "b"


def test_the_settings_of_the_consumer_reach_the_client_which_checks_them() -> None:
    config = KafkaConfig(
        bootstrap_servers="a:1",
        service_name="users",
        consumer_group_id="group",
        consumer_auto_offset_reset="latest",
        consumer_max_poll_records=7,
        consumer_session_timeout_ms=6000,
        consumer_heartbeat_interval_ms=500,
        dlq_topic_suffix=".dead",
        max_retry_attempts=5,
        retry_backoff_ms=20,
        retry_backoff_max_ms=40,
        handler_concurrency=3,
        data_dir="/data",
    )
    found = config.consumer_parameters()
    expected = {
        "bootstrap_servers": "a:1",
        "client_id": "users",
        "group_id": "group",
        "auto_offset_reset": "latest",
        "max_poll_records": 7,
        "session_timeout_ms": 6000,
        "heartbeat_interval_ms": 500,
        "dlq_topic_suffix": ".dead",
        "data_dir": "/data",
        "drain_timeout": 3.0,
    }
    assert {name: found[name] for name in expected} == expected
    assert config.handler_options() == {"concurrency": 3, "max_retries": 5, "backoff": 0.02, "backoff_max": 0.04}
    assert KafkaConfig(service_name="a", enable_dlq=False).consumer_parameters()["dlq_topic_suffix"] is None
    with pytest.raises(KafkaConfigurationError, match=r"consumer_group_id \(or the variable KAFKA_CONSUMER_GROUP_ID\)"):
        KafkaConfig(consumer_group_id="a\nb")


def handled(kind: Any = Noted) -> Any:
    return registered(kind, note, note, None, {})


def test_a_record_that_is_no_event_of_the_class_names_the_field_and_not_the_value() -> None:
    class Limited(Noted):
        age: int = Field(default=0, lt=100)

        @field_validator("text")
        @classmethod
        def _check(cls, value: str) -> str:
            if value == "secret":
                raise ValueError(f"found {value!r}")
            return value

    def refused(**payload: Any) -> NotOfClass:
        with pytest.raises(NotOfClass) as caught:
            handled(Limited).read(json.dumps({"payload": payload}).encode())
        return caught.value

    for payload, word, text in (
        ({}, "missing_field", "it is no Limited: text: Field required"),
        ({"text": 8715}, "invalid_value", "it is no Limited: text: Input should be a valid string"),
        ({"text": "secret"}, "invalid_value", "it is no Limited: text: not valid (value_error)"),
        ({"text": "t", "number": "8715x"}, "invalid_value", "it is no Limited: number: not valid (int_parsing)"),
        ({"text": "t", "age": 8715}, "invalid_value", "it is no Limited: age: not valid (less_than)"),
    ):
        verdict = refused(**payload).verdict
        assert (verdict.word, verdict.text) == (word, text)
    for value in (b"[]", b"nothing", b"{}", b'{"payload": 7}', b"[" * 100_000):
        with pytest.raises(NotOfClass) as caught:
            handled().read(value)
        assert caught.value.verdict.word == "invalid_value", value[:20]
    with pytest.raises(NotOfClass, match="it is no WorkflowEvent: "):
        handled(EventType.WORKFLOW_FAILED).read(b'{"event_id": "1"}')


def test_a_key_of_a_mapping_is_a_value_too() -> None:
    class Address(BaseModel):
        street: str

    class Sent(IntegrationEvent):
        model_config = {"extra": "forbid"}
        to: Dict[str, int] = {}
        addresses: List[Address] = []
        home: Optional[Address] = Field(default=None, alias="homeAddress")

    secret = "alice@example.com"
    for payload, text in (
        ({"to": {secret: "x"}}, "to....: not valid (int_parsing)"),
        ({"addresses": [{}]}, "addresses.0.street: Field required"),
        ({"homeAddress": {"street": 7}}, "homeAddress.street: Input should be a valid string"),
        ({secret: 7}, "...: not valid (extra_forbidden)"),
    ):
        with pytest.raises(NotOfClass) as caught:
            handled(Sent).read(json.dumps({"payload": payload}).encode())
        assert caught.value.verdict.text == f"it is no Sent: {text}"
    # Of an exception in a handler the class is not known: only its own fields are named.
    with pytest.raises(ValidationError) as refused:
        Sent.model_validate({"to": {secret: "x"}, "addresses": [{}]})
    assert error_text(refused.value).endswith("to....: not valid (int_parsing); addresses.0....: Field required")


def test_the_text_of_an_exception_has_its_type_its_message_and_its_causes() -> None:
    class Strict(BaseModel):
        password: int

    def raised(raises: Callable[[], None]) -> BaseException:
        try:
            raises()
        except BaseException as error:
            return error
        raise AssertionError

    def caused() -> None:
        try:
            raise ConnectionResetError(104, "reset")
        except OSError as error:
            raise KafkaError("no mail server") from error

    def hidden() -> None:
        try:
            raise ConnectionResetError(104, "reset")
        except OSError:
            raise ValueError("no") from None

    def unreadable() -> None:
        class Odd(Exception):
            def __str__(self) -> str:
                raise RuntimeError("no")

        raise Odd

    def circle() -> None:
        one, two = ValueError("one"), ValueError("two")
        one.__cause__, two.__cause__ = two, one
        raise one

    texts = [error_text(raised(each)) for each in (caused, hidden, circle)]
    assert texts[0].endswith("KafkaError: no mail server; caused by ConnectionResetError: [Errno 104] reset")
    assert texts[1:] == ["ValueError: no", "ValueError: one; caused by ValueError: two"]
    assert "Odd" in error_text(raised(unreadable))
    assert error_text(KeyError()) == "KeyError"
    refused = raised(lambda: Strict(password="hunter2"))  # type: ignore[arg-type, func-returns-value]
    assert isinstance(refused, ValidationError)
    assert error_text(refused).endswith("password: not valid (int_parsing)")
    long = error_text(ValueError("ü" * 2000))
    assert len(long.encode()) <= MAX_TEXT and long.endswith("ü...")


def test_what_an_exception_means() -> None:
    found: List[Dict[str, Any]] = [
        verdict_of(error)._asdict()
        for error in (
            Reject("no address"),
            Reject(),
            RetryLater(2.5, "closed"),
            RetryLater(-1),
            RetryLater("soon"),  # type: ignore[arg-type]
            ValueError("no"),
        )
    ]
    assert [(one["word"], one["text"], one["seconds"]) for one in found] == [
        ("reject", "no address", 0.0),
        ("reject", "the handler rejected it", 0.0),
        ("later", "closed", 2.5),
        ("later", "", 0.0),
        ("retry", "RetryLater: expected seconds as a number, found soon", 0.0),
        ("retry", "ValueError: no", 0.0),
    ]
    assert [one["error_type"] is None for one in found] == [False, False, True, True, False, False]
