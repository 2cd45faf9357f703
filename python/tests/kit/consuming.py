"""What tests of the consumer share: records as any client writes them, and waiting without holding the event loop."""

import asyncio
import json
import secrets
import time
import uuid
from typing import Any, Callable, Dict, List, Optional, Tuple, TypeVar

from confluent_kafka import Consumer, Producer, TopicPartition

from .reader import Kafka

T = TypeVar("T")

# As `poll`: how long a slow machine may take.
WITHIN = 120.0


def group_name() -> str:
    """A group that no other test uses."""
    return "group-{}".format(secrets.token_hex(6))


def envelope(event_type: str, event_id: Optional[str] = None, **payload: Any) -> Dict[str, Any]:
    """An integration event on the wire."""
    head = {
        "event_id": event_id or str(uuid.uuid4()),
        "event_type": event_type,
        "event_version": "1.0",
        "occurred_at": "2026-01-31T12:00:00Z",
        "correlation_id": payload.pop("correlation_id", None),
        "causation_id": None,
        "source_service": "tests",
    }
    return {**head, "payload": {**head, **payload}}


class Writer:
    """Writes records of any kind, in their order."""

    def __init__(self, kafka: Kafka) -> None:
        self._producer = Producer({**kafka.client, "enable.idempotence": True})

    def write(
        self,
        topic: str,
        value: Any,
        key: Optional[str] = None,
        headers: Optional[List[Tuple[str, bytes]]] = None,
        partition: int = -1,
    ) -> None:
        """Writes it with the next `flush`."""
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        more = {} if partition < 0 else {"partition": partition}
        self._producer.produce(topic, data, key, headers=headers or [], **more)
        self._producer.poll(0)

    def flush(self) -> None:
        assert self._producer.flush(WITHIN) == 0, "the records are not acknowledged"


def write(kafka: Kafka, topic: str, *values: Any, key: Optional[str] = None) -> None:
    """Writes records and waits for their acknowledgement."""
    writer = Writer(kafka)
    for value in values:
        writer.write(topic, value, key)
    writer.flush()


async def eventually(what: str, look: Callable[[], T], until: Callable[[T], Any] = bool, within: float = WITHIN) -> T:
    """As `poll`, and the event loop goes on meanwhile. `look` runs in a thread."""
    began = time.monotonic()
    seen: List[str] = []
    while True:
        found = await asyncio.to_thread(look)
        if until(found):
            return found
        note = repr(found)
        if not seen or seen[-1] != note:
            seen.append(note)
        if time.monotonic() - began > within:
            lines = "\n".join(text[:1000] for text in seen[-20:])
            raise AssertionError("not within {} s: {}. What was seen:\n{}".format(within, what, lines))
        await asyncio.sleep(0.02)


class Lag:
    """The longest time that the event loop stood still, while it is entered."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def _measure(self) -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.01)
            self.longest = max(self.longest, time.monotonic() - began - 0.01)

    async def __aenter__(self) -> "Lag":
        self._task = asyncio.ensure_future(self._measure())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()


def committed(kafka: Kafka, group: str, topic: str, partitions: int = 1) -> List[int]:
    """The committed offset of each partition."""
    consumer = Consumer({**kafka.client, "group.id": group, "enable.auto.commit": False})
    try:
        asked = [TopicPartition(topic, number) for number in range(partitions)]
        return [one.offset for one in consumer.committed(asked, timeout=WITHIN)]
    finally:
        consumer.close()
