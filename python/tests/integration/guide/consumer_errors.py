"""A handler that raises: its event comes again, and is a dead letter in the end."""

import asyncio
import logging
import signal

from building_blocks.domain.events import IntegrationEvent
from building_blocks.infrastructure.messaging import (
    IntegrationEventHandler,
    KafkaConfig,
    KafkaIntegrationEventConsumer,
    KafkaIntegrationEventPublisher,
)

logger = logging.getLogger(__name__)


class RefusedIntegrationEvent(IntegrationEvent):
    pass


class MyHandler(IntegrationEventHandler):
    async def handle(self, event: IntegrationEvent) -> None:
        try:
            # Process event
            raise ConnectionError("no mail server")
        except Exception as e:
            # Log error - consumer will retry
            logger.error(f"Handler error: {e}")
            raise  # Re-raise to trigger retry


async def main() -> None:
    config = KafkaConfig()
    consumer = KafkaIntegrationEventConsumer(config)
    consumer.register_handler(RefusedIntegrationEvent, MyHandler())
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with KafkaIntegrationEventPublisher(config) as publisher:
        await publisher.publish(RefusedIntegrationEvent())
        await consumer.start()
        await stopped.wait()
        await consumer.stop()


asyncio.run(main())
