"""One client in one process: `worker.py CLIENT SERVERS TOPIC GROUP COUNT` handles so many events with one async handler, and
prints the seconds from the first call to the last, and the peak of its memory in MiB.

All of them read the same records from the beginning, parse JSON and check the same fields with pydantic. Nothing is
imported before its client is asked for.
"""

import asyncio
import json
import resource
import sys
import time

NAMES = ("workflow-events", "aiokafka", "aiokafka, a commit for each", "faststream")


class Count:
    """What the handler does: it counts, and the last call ends the measurement."""

    def __init__(self, wanted):
        self.wanted = wanted
        self.seen = 0
        self.began = self.ended = 0.0
        self.all = asyncio.Event()

    async def handle(self, event):
        if self.seen == 0:
            self.began = time.perf_counter()
        self.seen += 1
        assert event.number >= 0
        if self.seen == self.wanted:
            self.ended = time.perf_counter()
            self.all.set()


async def ours(servers, topic, group, count):
    from integration_events import IntegrationEvent, KafkaConfig, KafkaIntegrationEventConsumer

    class Measured(IntegrationEvent):
        number: int
        text: str

    config = KafkaConfig(bootstrap_servers=servers, consumer_group_id=group)
    consumer = KafkaIntegrationEventConsumer(config)
    consumer.register_handler_function(Measured, count.handle, name="handler")
    await consumer.start(topic)
    await count.all.wait()
    await consumer.stop()


def model():
    from typing import Optional

    from pydantic import BaseModel

    class Measured(BaseModel):
        event_id: str
        event_type: str
        occurred_at: str
        aggregate_id: Optional[str] = None
        number: int
        text: str

    return Measured


async def aiokafka(servers, topic, group, count, commits_each=False):
    from aiokafka import AIOKafkaConsumer

    measured = model()
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=servers,
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=not commits_each,
    )
    await consumer.start()
    async for record in consumer:
        await count.handle(measured.model_validate(json.loads(record.value)["payload"]))
        if commits_each:
            await consumer.commit()
        if count.all.is_set():
            break
    await consumer.stop()


async def faststream(servers, topic, group, count):
    from faststream.kafka import KafkaBroker
    from pydantic import BaseModel

    measured = model()

    class Envelope(BaseModel):
        payload: measured

    broker = KafkaBroker(servers)

    async def handler(event: Envelope):
        await count.handle(event.payload)

    broker.subscriber(topic, group_id=group, auto_offset_reset="earliest")(handler)
    await broker.start()
    await count.all.wait()
    await broker.stop()


async def main(name, servers, topic, group, wanted):
    count = Count(int(wanted))
    if name == "aiokafka, a commit for each":
        await aiokafka(servers, topic, group, count, commits_each=True)
    else:
        clients = {"workflow-events": ours, "aiokafka": aiokafka, "faststream": faststream}
        await clients[name](servers, topic, group, count)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": count.ended - count.began, "peak": peak}))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
