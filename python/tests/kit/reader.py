"""What a topic holds, read by a client that is not ours (confluent-kafka): topics, and records up to their end."""

import json
import secrets
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Tuple

from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from .poll import poll

CALL = 60.0


@dataclass(frozen=True)
class Stored:
    """A record of a topic."""

    partition: int
    offset: int
    key: Optional[str]
    headers: Dict[str, str]
    value: Optional[bytes]

    @property
    def event(self) -> Dict[str, Any]:
        """The value as JSON."""
        assert self.value is not None, "the record at {}/{} has no value".format(self.partition, self.offset)
        event = json.loads(self.value)
        assert isinstance(event, dict), "not an object: {!r}".format(self.value)
        return event

    @property
    def event_id(self) -> str:
        return str(self.event["event_id"])


class Kafka:
    """A cluster as a client sees it. ``client`` are confluent-kafka's settings for reaching it."""

    def __init__(self, bootstrap: str, client: Optional[Mapping[str, Any]] = None) -> None:
        self.bootstrap = bootstrap
        self.client: Dict[str, Any] = {"bootstrap.servers": bootstrap, "log_level": 3, **(client or {})}

    def topic(self, prefix: str = "events", partitions: int = 1) -> str:
        """A new topic with a name that no other test uses."""
        name = "{}-{}".format(prefix, secrets.token_hex(6))
        self.create_topic(name, partitions)
        return name

    def create_topic(self, name: str, partitions: int = 1, settings: Optional[Dict[str, str]] = None) -> None:
        """Creates it and waits until each partition has a leader. One that is there already is left as it is."""
        admin = AdminClient(self.client)

        def create() -> bool:
            made = admin.create_topics([NewTopic(name, partitions, 1, config=settings or {})], operation_timeout=CALL)
            try:
                made[name].result(CALL)
            except Exception as error:
                code = error.args[0].code() if error.args and isinstance(error.args[0], KafkaError) else None
                if code != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise
            return True

        # A broker that stood still is fenced for a moment, and then there is none to put the topic on.
        poll(120, "topic {} is created".format(name), create, every=0.5)

        def leaders() -> List[int]:
            # Asked without the topic's name: a question about a topic may create it.
            known = admin.list_topics(timeout=CALL).topics.get(name)
            return [one.leader for one in known.partitions.values()] if known else []

        poll(CALL, "topic {} has leaders".format(name), leaders, lambda ids: len(ids) > 0 and min(ids) >= 0)

    def read(self, topic: str) -> List[Stored]:
        """Every record up to the current end, by partition and offset. A missing topic has none."""
        consumer = Consumer(
            {
                **self.client,
                "group.id": "reader-{}".format(secrets.token_hex(6)),
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "allow.auto.create.topics": False,
            }
        )
        try:
            return _read(consumer, topic)
        finally:
            consumer.close()

    def events(self, topic: str) -> List[Dict[str, Any]]:
        """The values of :meth:`read`, as JSON."""
        return [stored.event for stored in self.read(topic)]

    def event_ids(self, topic: str) -> List[str]:
        return [stored.event_id for stored in self.read(topic)]

    def wait_ids(self, topic: str, wanted: List[str], within: float = 120.0) -> List[Stored]:
        """Waits until each of these events is in the topic, and returns all that it holds."""
        missing = set(wanted)

        def look() -> Dict[str, Any]:
            records = self.read(topic)
            left = missing - {record.event_id for record in records}
            return {"missing": len(left), "of": len(missing), "first": sorted(left)[:3], "records": records}

        seen = poll(within, "the events are in {}".format(topic), look, lambda seen: seen["missing"] == 0, every=0.2)
        records: List[Stored] = seen["records"]
        return records


def _read(consumer: Consumer, topic: str) -> List[Stored]:
    known = consumer.list_topics(timeout=CALL).topics.get(topic)
    if known is None:
        return []
    ends = {}
    for number in known.partitions:
        low, high = _watermarks(consumer, TopicPartition(topic, number))
        if low < high:
            ends[number] = high
    records: List[Stored] = []
    consumer.assign([TopicPartition(topic, number, 0) for number in ends])
    while ends:
        message = consumer.poll(CALL)
        assert message is not None, "{} gave nothing for {} s; not at their end: {}".format(topic, CALL, ends)
        error = message.error()
        if error is not None:
            assert error.code() == KafkaError._PARTITION_EOF, "{} cannot be read: {}".format(topic, error)
            # A broker that just came back may name an end that is behind the one that it named before.
            if message.offset() >= ends.get(message.partition(), 0):
                ends.pop(message.partition(), None)
            continue
        records.append(_stored(message))
        if message.offset() + 1 >= ends.get(message.partition(), 0):
            ends.pop(message.partition(), None)
    return sorted(records, key=lambda record: (record.partition, record.offset))


def _watermarks(consumer: Consumer, partition: TopicPartition) -> Tuple[int, int]:
    """Its first offset and its end. A broker that was away may have no leader for it yet, so this waits for one."""

    def look() -> Tuple[int, int]:
        # A client that has heard of a topic without a leader calls its partitions unknown until it asks again.
        consumer.list_topics(partition.topic, timeout=CALL)
        low, high = consumer.get_watermark_offsets(partition, timeout=CALL)
        return low, high

    return poll(CALL, "{} [{}] has watermarks".format(partition.topic, partition.partition), look, lambda _: True)


def _stored(message: Any) -> Stored:
    key = message.key()
    return Stored(
        partition=message.partition(),
        offset=message.offset(),
        key=None if key is None else key.decode("utf-8"),
        headers={name: (value or b"").decode("utf-8") for name, value in message.headers() or []},
        value=message.value(),
    )
