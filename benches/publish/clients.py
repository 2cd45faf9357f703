"""The clients that are measured, each used as its users use it: constructed, fed with dicts, waited for.

All of them ask for acks=all with idempotence, send without linger, and serialise the same dicts to JSON. Nothing is
imported before its client is made, so that what an import costs is paid by whom it belongs to.
"""

import json
import random
import uuid

NAMES = ("workflow-events", "confluent-kafka", "kafka-python")
MORE_IN_FLIGHT = "workflow-events, 5 in flight"

IMPORTS = {
    "workflow-events": "from workflow_events import EventType, WorkflowEventProducer",
    "workflow-events, with its models": "from workflow_events import EventType, WorkflowEvent, WorkflowEventProducer",
    "confluent-kafka": "from confluent_kafka import Producer",
    "kafka-python": "from kafka import KafkaProducer",
}


def events(count, seed=1):
    """The same list for everybody: events of some 700 bytes of 100 workflows."""
    chance = random.Random(seed)
    return [
        {
            "event_id": str(uuid.UUID(int=chance.getrandbits(128), version=4)),
            "event_type": "WORKFLOW_COMPLETED",
            "timestamp": "2026-01-01T00:00:00.000000Z",
            "source": "AIRFLOW",
            "workflow_id": "etl_{}".format(chance.randrange(100)),
            "workflow_run_id": "scheduled__2026-01-01T{:02}:00:00+00:00".format(chance.randrange(24)),
            "payload": {"data": {"status": "success", "rows": chance.randrange(10**6), "text": text(number)}},
            "metadata": {"environment": "prod", "version": "1.0", "scope": "dag"},
        }
        for number in range(count)
    ]


def text(number):
    """400 characters, different in each event."""
    return "{:0400x}".format(number)


def key(event):
    return "{workflow_id}/{workflow_run_id}".format(**event).encode()


class WorkflowEvents:
    """This project's."""

    def __init__(self, servers):
        from workflow_events import WorkflowEventProducer

        self.producer = WorkflowEventProducer(servers, spool_dir=False)

    def publish(self, topic, event):
        if not self.producer.publish_event(event, topic=topic, timeout=30):
            raise RuntimeError("not acknowledged")

    def publish_many(self, topic, many):
        summary = self.producer.publish_many(many, topic=topic, timeout=300)
        if summary.published != len(many):
            raise RuntimeError(repr(summary))


class MoreInFlight(WorkflowEvents):
    """The same, with as many requests under way to a broker as the others have."""

    def __init__(self, servers):
        from workflow_events import WorkflowEventProducer

        self.producer = WorkflowEventProducer(servers, spool_dir=False, max_in_flight_requests_per_connection=5)


class Confluent:
    """confluent-kafka, as its README has it: produce with a callback, poll, flush."""

    def __init__(self, servers):
        from confluent_kafka import Producer

        self.errors = 0
        settings = {"bootstrap.servers": servers, "acks": "all", "enable.idempotence": True, "linger.ms": 0}
        self.producer = Producer(settings)

    def _delivered(self, error, _):
        self.errors += error is not None

    def _produce(self, topic, event):
        while True:
            try:
                self.producer.produce(topic, json.dumps(event).encode(), key(event), on_delivery=self._delivered)
                return
            except BufferError:
                self.producer.poll(0.01)

    def publish(self, topic, event):
        self._produce(topic, event)
        if self.producer.flush(30) or self.errors:
            raise RuntimeError("not acknowledged")

    def publish_many(self, topic, many):
        for event in many:
            self._produce(topic, event)
            self.producer.poll(0)
        if self.producer.flush(300) or self.errors:
            raise RuntimeError("not acknowledged")


class KafkaPython:
    """kafka-python: send gives a future."""

    def __init__(self, servers):
        from kafka import KafkaProducer

        self.producer = KafkaProducer(bootstrap_servers=servers, acks="all", enable_idempotence=True, linger_ms=0)

    def _send(self, topic, event):
        return self.producer.send(topic, json.dumps(event).encode(), key(event))

    def publish(self, topic, event):
        self._send(topic, event).get(30)

    def publish_many(self, topic, many):
        futures = [self._send(topic, event) for event in many]
        self.producer.flush(300)
        for future in futures:
            future.get(0)


CLIENTS = {
    "workflow-events": WorkflowEvents,
    MORE_IN_FLIGHT: MoreInFlight,
    "confluent-kafka": Confluent,
    "kafka-python": KafkaPython,
}
