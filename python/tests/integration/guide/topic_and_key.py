"""A topic and a partition key of the class's own."""

import asyncio

from building_blocks.domain.events import IntegrationEvent
from building_blocks.infrastructure.messaging import KafkaIntegrationEventPublisher


class UserCreatedIntegrationEvent(IntegrationEvent):
    tenant_id: str

    def get_topic_name(self) -> str:
        return "users.created.v1"

    def get_partition_key(self) -> str:
        # Partition by tenant for multi-tenancy
        return self.tenant_id


async def main() -> None:
    async with KafkaIntegrationEventPublisher() as publisher:
        await publisher.publish(UserCreatedIntegrationEvent(tenant_id="acme"))


asyncio.run(main())
