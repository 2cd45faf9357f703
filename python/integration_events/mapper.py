"""From the events of a service to those for others.

Owns the mappings, and what a mapped event keeps of the domain event: id, time, aggregate and cause. It publishes
nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Callable, Optional
from uuid import NAMESPACE_OID, UUID, uuid5

from .events import IntegrationEvent

Transform = Callable[[Any], Mapping[str, Any]]

#: What a mapped event has of its domain event, unless its transformation names another.
_KEPT = ("event_id", "occurred_at", "aggregate_id")
#: What is not copied because the event has one of its own.
_OWN = (*_KEPT, "event_type", "event_version", "causation_id")


class EventMapper:
    """Makes integration events of domain events.

    A domain event may be of any class; one of a subclass without mappings of its own has those of its base.
    """

    def __init__(self) -> None:
        self._mappings: dict[type, dict[type[IntegrationEvent], Optional[Transform]]] = {}

    def register_mapping(
        self,
        domain_type: type,
        integration_type: type[IntegrationEvent],
        transform: Optional[Transform] = None,
    ) -> None:
        """Maps a class of domain events to a class of integration events.

        Fields of one name are copied, except `event_type` and `event_version`. With `transform`, a function from the
        domain event to a dict of fields, these are the fields instead. Either way the new event keeps `event_id`,
        `occurred_at` and `aggregate_id` and has the domain event as its `causation_id`, unless the dict names them. A
        domain event with several mappings keeps its `event_id` in the first; each other one has an id that is derived
        from it, and so has the first when the `event_id` is no UUID. Without an `event_id` the ids are new ones. Raises
        ValueError for a mapping that is registered already.
        """
        if not (isinstance(integration_type, type) and issubclass(integration_type, IntegrationEvent)):
            raise TypeError(f"integration_type: expected a subclass of IntegrationEvent, found {integration_type!r}")
        if not isinstance(domain_type, type):
            raise TypeError(f"domain_type: expected a class, found {domain_type!r}")
        targets = self._mappings.setdefault(domain_type, {})
        if integration_type in targets:
            names = f"{domain_type.__name__} to {integration_type.__name__}"
            raise ValueError(f"the mapping of {names} is registered already: remove one of the two calls")
        targets[integration_type] = transform

    def has_mapping(self, domain_type: object) -> bool:
        """Whether events of this class are mapped. Also takes an event."""
        return bool(self._targets(domain_type if isinstance(domain_type, type) else type(domain_type)))

    def map(self, domain_event: object) -> Optional[IntegrationEvent]:
        """The first integration event of a domain event; None without a mapping. Raises what `map_all` raises."""
        first = list(self._targets(type(domain_event)).items())[:1]
        return _mapped(domain_event, first)[0] if first else None

    def map_all(self, domain_event: object) -> list[IntegrationEvent]:
        """All integration events of a domain event, in the order of their registration.

        Raises pydantic's ValidationError, a ValueError, where a field is missing or wrong, and what a transformation
        raises.
        """
        return _mapped(domain_event, list(self._targets(type(domain_event)).items()))

    def _map_without(self, domain_event: object, classes: Collection[type]) -> list[IntegrationEvent]:
        """As `map_all`, without the events of these classes; the others have the ids that they have there."""
        return _mapped(domain_event, list(self._targets(type(domain_event)).items()), classes)

    def _targets(self, domain_type: type) -> dict[type[IntegrationEvent], Optional[Transform]]:
        return next((self._mappings[kind] for kind in domain_type.__mro__ if kind in self._mappings), {})


def _mapped(
    domain_event: object,
    targets: list[tuple[type[IntegrationEvent], Optional[Transform]]],
    without: Collection[type] = (),
) -> list[IntegrationEvent]:
    kept = {name: value for name, value in _fields(domain_event, _KEPT).items() if value is not None}
    cause = str(kept.pop("event_id", ""))
    first = _uuid(cause) if cause.strip() else None
    if first is not None:
        kept["causation_id"] = cause
    events = []
    for index, (target, transform) in enumerate(targets):
        if target in without:
            continue
        if transform is None:
            fields = _fields(domain_event, [name for name in target.model_fields if name not in _OWN])
        else:
            fields = dict(_checked(transform(domain_event), transform))
        if first is not None:
            kept["event_id"] = first if index == 0 else uuid5(first, target.__name__)
        events.append(target(**{**kept, **fields}))
    return events


def _uuid(event_id: str) -> UUID:
    """The id as a UUID; one that is none has a UUID of its own, the same each time."""
    try:
        return UUID(event_id)
    except ValueError:
        return uuid5(NAMESPACE_OID, event_id)


def _fields(domain_event: object, names: Any) -> dict[str, Any]:
    missing = object()
    found = ((name, getattr(domain_event, name, missing)) for name in names)
    return {name: value for name, value in found if value is not missing}


def _checked(fields: object, transform: Transform) -> Mapping[str, Any]:
    if not isinstance(fields, Mapping):
        name = getattr(transform, "__name__", repr(transform))
        raise TypeError(f"{name}: expected a dict of the event's fields, found {type(fields).__name__}")
    return fields
