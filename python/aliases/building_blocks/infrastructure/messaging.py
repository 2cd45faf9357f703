"""Other names: see `building_blocks`."""

from integration_events import (
    EventMapper,
    KafkaConfig,
    KafkaIntegrationEventPublisher,
    create_integration_event_mediator,
)

__all__ = ["EventMapper", "KafkaConfig", "KafkaIntegrationEventPublisher", "create_integration_event_mediator"]
