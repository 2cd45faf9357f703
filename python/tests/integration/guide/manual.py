"""Define an event, configure Kafka, publish by hand."""

import asyncio
from datetime import datetime
from types import SimpleNamespace
from uuid import UUID, uuid4

from building_blocks.domain.events import IntegrationEvent
from building_blocks.infrastructure.messaging import KafkaConfig, KafkaIntegrationEventPublisher

user = SimpleNamespace(id=uuid4(), email="ada@example.com", full_name="Ada Lovelace", created_at=datetime(2026, 1, 31))


class UserCreatedIntegrationEvent(IntegrationEvent):
    """Published when a new user is created."""

    user_id: UUID
    email: str
    full_name: str
    created_at: datetime


async def main() -> None:
    # Create publisher
    config = KafkaConfig()
    publisher = KafkaIntegrationEventPublisher(config)

    # Start publisher
    await publisher.start()

    try:
        # Publish event
        event = UserCreatedIntegrationEvent(
            user_id=user.id,
            email=user.email,
            full_name=user.full_name,
            # Was datetime.utcnow(), which Python 3.12 deprecates.
            created_at=user.created_at,
        )
        await publisher.publish(event)
    finally:
        await publisher.stop()


asyncio.run(main())
