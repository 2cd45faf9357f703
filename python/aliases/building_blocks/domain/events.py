"""Other names: see `building_blocks`."""

from integration_events import DomainEvent, IntegrationEvent

__all__ = ["DomainEvent", "IntegrationEvent"]
