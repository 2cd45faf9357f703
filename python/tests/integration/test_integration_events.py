"""The events: their defaults, topics, keys and envelope, and the mapping from domain events."""

import json
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, Dict, Literal, Optional, Type

import pytest
from integration_events import DomainEvent, EventMapper, IntegrationEvent
from pydantic import ValidationError


class UserCreatedIntegrationEvent(IntegrationEvent):
    user_id: uuid.UUID
    email: str


class HTTPServerStarted(IntegrationEvent):
    pass


class OrderPaidEvent(IntegrationEvent):
    amount: int = 0


class UserCreatedDomainEvent(DomainEvent):
    user_id: uuid.UUID
    email: str
    correlation_id: Optional[str] = None


def created(**more: Any) -> UserCreatedIntegrationEvent:
    return UserCreatedIntegrationEvent(**{"user_id": uuid.uuid4(), "email": "a@example.com", **more})


def test_an_event_has_an_id_a_time_and_the_name_of_its_class() -> None:
    event, other = created(), created()
    assert isinstance(event.event_id, uuid.UUID) and event.event_id != other.event_id
    assert abs(datetime.now(timezone.utc) - event.occurred_at) < timedelta(minutes=1)
    assert (event.event_type, event.event_version) == ("UserCreatedIntegrationEvent", "1.0")
    assert (event.correlation_id, event.causation_id, event.source_service, event.aggregate_id) == (None,) * 4
    assert created(event_type="user.created").event_type == "user.created"
    assert DomainEvent().event_type == "DomainEvent"


def test_a_class_may_have_a_default_of_its_own_as_its_type() -> None:
    class Renamed(IntegrationEvent):
        event_type: str = "user.renamed"

    class Chosen(IntegrationEvent):
        event_type: Literal["user.chosen"] = "user.chosen"

    class Inherited(Renamed):
        pass

    for kind, name in ((Renamed, "user.renamed"), (Chosen, "user.chosen"), (Inherited, "user.renamed")):
        for event in (kind(), kind(event_type=""), kind(event_type=None)):
            assert event.event_type == name
        assert kind.from_dict({**kind().to_dict(), "payload": {}}).event_type == name
    assert Renamed(event_type="other").event_type == "other"


@pytest.mark.parametrize("blank", ["", " "])
def test_an_optional_field_that_is_blank_is_none(blank: str) -> None:
    names = ("correlation_id", "causation_id", "source_service", "aggregate_id", "aggregate_type")
    event = created(**dict.fromkeys(names, blank))
    assert [getattr(event, name) for name in names] == [None] * 5
    assert DomainEvent(aggregate_id=blank).aggregate_id is None


def test_a_time_without_an_offset_is_utc_and_another_one_is_kept() -> None:
    assert created(occurred_at=datetime(2026, 1, 31, 12)).occurred_at == datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
    berlin = datetime(2026, 1, 31, 13, tzinfo=timezone(timedelta(hours=1)))
    assert created(occurred_at=berlin).occurred_at == berlin
    assert created(occurred_at="2026-01-31T12:00:00").occurred_at.tzinfo is not None


def named(name: str) -> Type[IntegrationEvent]:
    return type(name, (IntegrationEvent,), {"__module__": __name__})


@pytest.mark.parametrize(
    ("name", "topic"),
    [
        ("UserCreatedIntegrationEvent", "user_created"),
        ("OrderPaidEvent", "order_paid"),
        ("HTTPServerStarted", "http_server_started"),
        ("OAuth2TokenIssued", "o_auth2_token_issued"),
        ("Event", "event"),
        ("IntegrationEvent", "integration"),
        ("already_snake", "already_snake"),
        ("EventOfNoSuffix", "event_of_no_suffix"),
    ],
)
def test_the_topic_is_the_name_of_the_class_in_snake_case_without_its_suffix(name: str, topic: str) -> None:
    assert named(name)().get_topic_name() == f"integration-events.{topic}"


@pytest.mark.parametrize(
    ("aggregate", "key"),
    [(None, None), ("user-7", "user-7"), (7, "7"), (uuid.UUID(int=7), str(uuid.UUID(int=7))), ("", None)],
)
def test_the_key_is_the_aggregate_as_text(aggregate: Any, key: Optional[str]) -> None:
    assert created(aggregate_id=aggregate).get_partition_key() == key


def test_the_envelope_has_the_whole_event_as_its_payload_and_is_read_again() -> None:
    cause, aggregate = uuid.uuid4(), uuid.uuid4()
    event = created(occurred_at=datetime(2026, 1, 31, 12), causation_id=cause, correlation_id=7, aggregate_id=aggregate)
    envelope = event.to_dict()
    assert list(envelope) == [
        "event_id",
        "event_type",
        "event_version",
        "occurred_at",
        "correlation_id",
        "causation_id",
        "source_service",
        "payload",
    ]
    payload = envelope["payload"]
    assert {name: payload[name] for name in envelope if name != "payload"} == {
        "event_id": str(event.event_id),
        "event_type": "UserCreatedIntegrationEvent",
        "event_version": "1.0",
        "occurred_at": "2026-01-31T12:00:00Z",
        "correlation_id": "7",
        "causation_id": str(cause),
        "source_service": None,
    }
    assert (payload["user_id"], payload["email"]) == (str(event.user_id), "a@example.com")
    read = UserCreatedIntegrationEvent.from_dict(json.loads(json.dumps(envelope)))
    assert read.aggregate_id == str(aggregate), "text: JSON knows no UUID"
    assert read == event.model_copy(update={"aggregate_id": str(aggregate)})


def test_an_envelope_of_another_writer_is_read_with_fields_beside_and_unknown_ones() -> None:
    envelope = {
        "event_id": str(uuid.UUID(int=1)),
        "event_type": "UserCreatedIntegrationEvent",
        "event_version": "2.0",
        "occurred_at": "2026-01-31T12:00:00+00:00",
        "source_service": "users",
        "trace": "of no interest",
        "payload": {"user_id": str(uuid.UUID(int=2)), "email": "a@example.com", "added_later": 1},
    }
    event = UserCreatedIntegrationEvent.from_dict(envelope)
    assert (event.event_id, event.event_version, event.source_service) == (uuid.UUID(int=1), "2.0", "users")
    for version, text in ((2, "2"), (2.1, "2.1")):
        assert UserCreatedIntegrationEvent.from_dict({**envelope, "event_version": version}).event_version == text
    for payload in (None, [], "text"):
        with pytest.raises(ValueError, match="payload: expected an object with the fields of UserCreated"):
            UserCreatedIntegrationEvent.from_dict({**envelope, "payload": payload})
    with pytest.raises(ValidationError, match="email"):
        UserCreatedIntegrationEvent.from_dict({**envelope, "payload": {"user_id": str(uuid.UUID(int=2))}})


def test_a_mapping_copies_fields_of_one_name_and_keeps_the_identity() -> None:
    mapper = EventMapper()
    mapper.register_mapping(UserCreatedDomainEvent, UserCreatedIntegrationEvent)
    domain = UserCreatedDomainEvent(
        user_id=uuid.uuid4(),
        email="a@example.com",
        aggregate_id=7,
        correlation_id="c",
        occurred_at=datetime(2026, 1, 1),
    )
    event = mapper.map(domain)
    assert isinstance(event, UserCreatedIntegrationEvent)
    assert event.event_type == "UserCreatedIntegrationEvent", "and not the domain event's"
    assert (event.event_id, event.occurred_at, event.aggregate_id) == (domain.event_id, domain.occurred_at, 7)
    assert (event.causation_id, event.correlation_id) == (str(domain.event_id), "c")
    assert (event.user_id, event.email) == (domain.user_id, "a@example.com")
    assert mapper.map_all(domain) == [event]


def test_a_transformation_gives_the_fields_and_may_name_what_is_kept() -> None:
    def paid(domain: UserCreatedDomainEvent) -> Dict[str, Any]:
        return {"amount": 5, "aggregate_id": "other", "causation_id": "a cause"}

    mapper = EventMapper()
    mapper.register_mapping(UserCreatedDomainEvent, OrderPaidEvent, transform=paid)
    domain = UserCreatedDomainEvent(user_id=uuid.uuid4(), email="a@example.com", aggregate_id=7, correlation_id="c")
    (event,) = mapper.map_all(domain)
    assert isinstance(event, OrderPaidEvent)
    assert (event.amount, event.aggregate_id, event.causation_id) == (5, "other", "a cause")
    assert (event.event_id, event.correlation_id) == (domain.event_id, None)


def test_further_targets_have_ids_that_are_derived_and_the_same_each_time() -> None:
    mapper = EventMapper()
    for target in (UserCreatedIntegrationEvent, OrderPaidEvent, HTTPServerStarted):
        mapper.register_mapping(UserCreatedDomainEvent, target)
    domain = UserCreatedDomainEvent(user_id=uuid.uuid4(), email="a@example.com")
    events = mapper.map_all(domain)
    assert [type(event) for event in events] == [UserCreatedIntegrationEvent, OrderPaidEvent, HTTPServerStarted]
    ids = [event.event_id for event in events]
    assert ids[0] == domain.event_id and len(set(ids)) == 3
    assert ids[1] == uuid.uuid5(domain.event_id, "OrderPaidEvent")
    assert ids == [event.event_id for event in mapper.map_all(domain)]
    assert {event.causation_id for event in events} == {str(domain.event_id)}
    assert mapper.map(domain) == events[0]


@dataclass
class Foreign:
    event_id: Any = None
    occurred_at: Any = None
    event_version: str = "of the domain's own fields"


def test_a_domain_event_without_a_uuid_is_mapped_too() -> None:
    mapper = EventMapper()
    mapper.register_mapping(Foreign, OrderPaidEvent)
    mapper.register_mapping(Foreign, HTTPServerStarted)
    for blank in (None, "", " "):
        one, two = mapper.map_all(Foreign(blank))
        assert isinstance(one.event_id, uuid.UUID) and one.event_id != two.event_id
        assert (one.causation_id, one.event_version) == (None, "1.0")
        assert isinstance(one.occurred_at, datetime)
    for given in ("order-7", 7):
        one, two = mapper.map_all(Foreign(given))
        assert one.event_id == uuid.uuid5(uuid.NAMESPACE_OID, str(given))
        assert two.event_id == uuid.uuid5(one.event_id, "HTTPServerStarted")
        assert one.causation_id == two.causation_id == str(given)
        assert [one.event_id, two.event_id] == [event.event_id for event in mapper.map_all(Foreign(given))]
    text = str(uuid.uuid4())
    assert str(mapper.map_all(Foreign(text))[0].event_id) == text


def test_any_class_may_be_a_domain_event_and_a_subclass_has_the_mapping_of_its_base() -> None:
    @dataclass
    class Plain:
        amount: int
        event_id: uuid.UUID = field(default_factory=uuid.uuid4)

    class Special(Plain):
        pass

    mapper = EventMapper()
    assert not mapper.has_mapping(Plain) and mapper.map(Plain(1)) is None and mapper.map_all(Plain(1)) == []
    mapper.register_mapping(Plain, OrderPaidEvent)
    assert mapper.has_mapping(Plain) and mapper.has_mapping(Special(2)) and not mapper.has_mapping(str)
    event = mapper.map(Special(2))
    assert isinstance(event, OrderPaidEvent) and event.amount == 2


def test_a_wrong_mapping_says_what_is_wrong() -> None:
    mapper = EventMapper()
    mapper.register_mapping(UserCreatedDomainEvent, OrderPaidEvent, transform=lambda domain: [1])  # type: ignore
    domain = UserCreatedDomainEvent(user_id=uuid.uuid4(), email="a@example.com")
    with pytest.raises(TypeError, match="expected a dict of the event's fields, found list"):
        mapper.map(domain)
    with pytest.raises(ValueError, match="UserCreatedDomainEvent to OrderPaidEvent is registered already"):
        mapper.register_mapping(UserCreatedDomainEvent, OrderPaidEvent)
    with pytest.raises(TypeError, match="expected a subclass of IntegrationEvent"):
        mapper.register_mapping(UserCreatedDomainEvent, UserCreatedDomainEvent)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="domain_type: expected a class"):
        mapper.register_mapping(domain, OrderPaidEvent)  # type: ignore[arg-type]
    mapper.register_mapping(DomainEvent, UserCreatedIntegrationEvent)
    with pytest.raises(ValidationError, match="email"):
        mapper.map(DomainEvent())
