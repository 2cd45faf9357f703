"""The producer that the helpers share: one for each process and settings, made when first needed.

Its invariant: it has no lock, which a forked child could inherit locked, and it neither uses nor releases a producer of
another process, whose native handle belongs to the parent. It knows nothing of Airflow or of events.

``get_kafka_producer`` returns the shared one. Closing it is allowed (older DAGs do): the next call makes another.
"""

from __future__ import annotations

import hashlib
import os

# For event ids. Imported here, because an import at the first publish would hang in a child that was forked during an
# import.
import uuid  # noqa: F401

from workflow_events.checks import check_topic
from workflow_events.errors import KafkaConfigurationError
from workflow_events.producer import WorkflowEventProducer
from workflow_events.settings import DEFAULTS, ENVIRONMENT
from workflow_events.wire import InvalidEvent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# The variables that a producer's settings are read from. A change of one of them makes another producer.
_PREFIXES = ("KAFKA_", "WORKFLOW_EVENTS_", "XDG_STATE_HOME", "HOME")

# (pid, bootstrap servers, digest of the settings) -> producer. `setdefault` is atomic, so two threads agree on one.
_shared: dict[tuple[Any, ...], WorkflowEventProducer] = {}

# The settings contain a password: the salt makes their digest useless outside this process.
_SALT = os.urandom(16)

INVALID_SERVERS = "kafka-bootstrap-servers-is-wrong.invalid:9092"
"""The brokers of a spooled event when the configured address is invalid: a name that never resolves."""


def get_kafka_producer(bootstrap_servers: str | list[str] | tuple[str, ...] | None = None) -> WorkflowEventProducer:
    """The producer of this process for these brokers (default: ``KAFKA_BOOTSTRAP_SERVERS``, else localhost:9092).

    It connects when it first publishes: an unreachable broker is no error here, and events are spooled. Raises
    ``workflow_events.KafkaConfigurationError``, and nothing else, when an address or a setting of the environment
    (``KAFKA_*``, ``WORKFLOW_EVENTS_SPOOL_*``) is wrong.
    """
    return _live(_key(bootstrap_servers), {"bootstrap_servers": bootstrap_servers})


def get_spooling_producer(topic: str | None = None) -> WorkflowEventProducer:
    """A producer that only spools, for when the settings are wrong: it never connects.

    topic: a valid topic for events without one; default: ``KAFKA_TOPIC`` when that is valid, else workflow-events.
    Takes the address and the spool's folder from the environment and no other setting; an invalid address becomes
    ``INVALID_SERVERS``. Raises as ``get_kafka_producer`` when the folder itself is wrong.
    """
    # All other settings ignore the environment: they have their defaults, or are empty.
    settings: dict[str, Any] = {
        name: DEFAULTS.get(name, "") for name in ENVIRONMENT if name not in ("bootstrap_servers", "spool_dir")
    }
    settings["topic"] = topic or valid_topic(os.environ.get("KAFKA_TOPIC", "").strip()) or DEFAULTS["topic"]
    key = ("spooling", settings["topic"], *_key(None))
    try:
        return _live(key, settings)
    except KafkaConfigurationError:
        return _live((*key, INVALID_SERVERS), {**settings, "bootstrap_servers": INVALID_SERVERS})


def valid_topic(topic: Any) -> str | None:
    """The topic, if its name is valid."""
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
