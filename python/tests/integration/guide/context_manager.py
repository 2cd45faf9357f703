"""The publisher as a context manager, and many events at once."""

import asyncio

from building_blocks.domain.events import IntegrationEvent
from building_blocks.infrastructure.messaging import KafkaConfig, KafkaIntegrationEventPublisher

config = KafkaConfig(service_name="user-service", consumer_group_id="user-service-group")


class UserCreatedIntegrationEvent(IntegrationEvent):
    email: str


event, event1, event2, event3 = (UserCreatedIntegrationEvent(email=f"{name}@example.com") for name in "abcd")


async def main() -> None:
    async with KafkaIntegrationEventPublisher(config) as publisher:
        await publisher.publish(event)

        events = [event1, event2, event3]
        await publisher.publish_many(events)


asyncio.run(main())
