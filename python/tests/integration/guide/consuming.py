"""Define a handler, register it, start the consumer; and handler functions."""

import asyncio
import signal

from building_blocks.domain.events import IntegrationEvent
from building_blocks.infrastructure.messaging import (
    IntegrationEventHandler,
    KafkaConfig,
    KafkaIntegrationEventConsumer,
)


class UserCreatedIntegrationEvent(IntegrationEvent):
    email: str


class UserCreatedHandler(IntegrationEventHandler):
    """Handles UserCreatedIntegrationEvent."""

    async def handle(self, event: UserCreatedIntegrationEvent) -> None:
        print(f"User created: {event.email}")
        # Your business logic here
        # - Send welcome email
        # - Update analytics
        # - Sync to CRM
        # etc.


async def handle_user_created(event: UserCreatedIntegrationEvent):
    print(f"By the function: {event.email}")


async def main() -> None:
    # Create consumer
    config = KafkaConfig()
    consumer = KafkaIntegrationEventConsumer(config)

    # Register handlers
    consumer.register_handler(UserCreatedIntegrationEvent, UserCreatedHandler())
    consumer.register_handler_function(UserCreatedIntegrationEvent, handle_user_created)

    # Start consuming
    topics = ["integration-events.user_created"]
    await consumer.start(topics)

    # Consumer runs in background
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()

    # Call consumer.stop() to stop gracefully
    await consumer.stop()


asyncio.run(main())
