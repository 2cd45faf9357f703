"""No broker: the error of the guide's troubleshooting."""

import asyncio

from building_blocks.infrastructure.messaging import KafkaConfig, KafkaIntegrationEventPublisher
from integration_events import KafkaConnectionError


async def main() -> None:
    publisher = KafkaIntegrationEventPublisher(KafkaConfig(bootstrap_servers="127.0.0.1:1", connect_timeout=0.5))
    try:
        await publisher.start()
    except KafkaConnectionError as error:
        print(f"Failed to start Kafka producer: {type(error).__name__}: {error}")
    else:
        raise AssertionError("there is no broker")


asyncio.run(main())
