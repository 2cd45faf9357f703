"""The producer that the helpers share: one for each process and settings, made when first needed.

Its invariant: no lock, so none can be inherited locked over a fork, and a producer of another process is never
used nor let go of (its native handle belongs to the parent). It knows nothing of Airflow or of events.

``get_kafka_producer`` gives out the shared one. Closing it is allowed (older DAGs do): the next call makes another.
"""

from __future__ import annotations

import hashlib
import os

# For an event id; here, because a process that forks while another of its threads is importing something leaves the
# child with an import that never ends.
import uuid  # noqa: F401

from workflow_events.checks import check_topic
from workflow_events.errors import KafkaConfigurationError
from workflow_events.producer import WorkflowEventProducer
from workflow_events.settings import DEFAULTS
from workflow_events.wire import InvalidEvent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# What the settings of a producer are read from. A change of any of them, in a test or a DAG, means another producer.
_PREFIXES = ("KAFKA_", "WORKFLOW_EVENTS_", "XDG_STATE_HOME", "HOME")

# (pid, bootstrap servers, digest of the settings) -> producer. `setdefault` is atomic, so two threads agree on one.
_shared: dict[tuple[Any, ...], WorkflowEventProducer] = {}

# There is a password among the settings: a digest of them that can be tried nowhere but in this process.
_SALT = os.urandom(16)

NOWHERE = "kafka-bootstrap-servers-is-wrong.invalid:9092"
"""The brokers of an event in the spool when the configured address is none: a name that no network ever has."""


def get_kafka_producer(bootstrap_servers: str | list[str] | tuple[str, ...] | None = None) -> WorkflowEventProducer:
    """The producer of this process for these brokers (default: ``KAFKA_BOOTSTRAP_SERVERS``, else localhost:9092).

    It connects when it first publishes: no broker is no error here, the spool stands behind it. Raises
    ``workflow_events.KafkaConfigurationError``, and nothing else, when an address or a setting of the environment
    (``KAFKA_*``, ``WORKFLOW_EVENTS_SPOOL_*``) is wrong.
    """
    return _live(_key(bootstrap_servers), {"bootstrap_servers": bootstrap_servers})


def get_spooling_producer(topic: str | None = None) -> WorkflowEventProducer:
    """A producer that is asked for nothing but the spool, for when the settings are wrong: it never connects.

    topic: a valid one, for what is published without; default: ``KAFKA_TOPIC`` when that is valid, else
    workflow-events. Takes the address and the spool's folder from the environment and no other setting; an address
    that is none is ``NOWHERE``. Raises as ``get_kafka_producer`` when the folder itself is wrong.
    """
    settings: dict[str, Any] = {
        "topic": topic or valid_topic(os.environ.get("KAFKA_TOPIC", "").strip()) or DEFAULTS["topic"],
        "spool_max_bytes": DEFAULTS["spool_max_bytes"],
        "security_protocol": "PLAINTEXT",
        "sasl_mechanism": "",
        "sasl_username": "",
        "sasl_password": "",
        "ssl_cafile": "",
        "ssl_certfile": "",
        "ssl_keyfile": "",
    }
    key = ("spooling", settings["topic"], *_key(None))
    try:
        return _live(key, settings)
    except KafkaConfigurationError:
        return _live((*key, NOWHERE), {**settings, "bootstrap_servers": NOWHERE})


def valid_topic(topic: Any) -> str | None:
    """The topic, if Kafka can have one of this name."""
    try:
        return check_topic(topic)
    except InvalidEvent:
        return None


def forget(producer: Any) -> None:
    """Makes the next call of ``get_kafka_producer`` build another: this one was closed."""
    for key, shared in list(_shared.items()):
        if shared is producer:
            _shared.pop(key, None)


def _live(key: tuple[Any, ...], settings: dict[str, Any]) -> WorkflowEventProducer:
    producer = _shared.get(key)
    if producer is not None and producer.closed:
        forget(producer)
        producer = None
    if producer is None:
        producer = _shared.setdefault(key, WorkflowEventProducer(connect_timeout=None, **settings))
    return producer


def _key(bootstrap_servers: Any) -> tuple[Any, ...]:
    settings = sorted((name, value) for name, value in os.environ.items() if name.startswith(_PREFIXES))
    digest = hashlib.sha256(_SALT + repr(settings).encode("utf-8", "backslashreplace")).digest()
    return (os.getpid(), repr(bootstrap_servers), digest)
