"""An event that is neither in Kafka nor on disk is an error of aiokafka's class."""

import asyncio
import logging

from aiokafka.errors import KafkaError
from building_blocks.domain.events import IntegrationEvent
from building_blocks.infrastructure.messaging import KafkaConfig, KafkaIntegrationEventPublisher

logger = logging.getLogger(__name__)
event = IntegrationEvent()
# No broker, no spool.
config = KafkaConfig(bootstrap_servers="127.0.0.1:1", connect_timeout=None, publish_timeout=0.1, spool_dir=False)


async def main() -> None:
    failed = False
    async with KafkaIntegrationEventPublisher(config) as publisher:
        try:
            await publisher.publish(event)
        except KafkaError as e:
            logger.error(f"Failed to publish event: {e}")
            # Was "Event is sent to DLQ if configured": with a spool it waits there, and nothing is raised.
            failed = True
    assert failed


asyncio.run(main())
