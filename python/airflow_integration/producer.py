"""The producer that the helpers share: one for each process and settings, made when first needed.

Its invariant: no lock, so none can be inherited locked over a fork, and a producer of another process is never
used nor let go of (its native handle belongs to the parent). It knows nothing of Airflow or of events.

``get_kafka_producer`` gives out the shared one. Closing it is allowed (older DAGs do): the next publish makes
another.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workflow_events import WorkflowEventProducer

log = logging.getLogger("airflow_integration")

# What the settings of a producer are read from. A change of any of them, in a test or a DAG, means another producer.
_PREFIXES = ("KAFKA_", "WORKFLOW_EVENTS_", "XDG_STATE_HOME", "HOME")

# (pid, bootstrap servers, settings) -> producer. `setdefault` is atomic, so two threads agree on one.
_shared: dict[tuple[Any, ...], WorkflowEventProducer] = {}


def get_kafka_producer(bootstrap_servers: str | None = None) -> WorkflowEventProducer:
    """The producer of this process for these brokers (default: ``KAFKA_BOOTSTRAP_SERVERS``, else localhost:9092).

    It connects when it first publishes: no broker is no error here, the spool stands behind it. Raises
    ``workflow_events.KafkaConfigurationError`` when a ``KAFKA_*`` setting is wrong.
    """
    key = _key(bootstrap_servers)
    producer = _shared.get(key)
    if producer is None:
        from workflow_events import WorkflowEventProducer

        producer = _shared.setdefault(
            key, WorkflowEventProducer(bootstrap_servers=bootstrap_servers, connect_timeout=None)
        )
    return producer


def get_spooling_producer() -> WorkflowEventProducer:
    """A producer that is asked for nothing but the spool, for when the settings are wrong: it never connects.

    Takes the address from the environment and leaves every setting of security alone. Raises as
    ``get_kafka_producer`` when the address itself is wrong.
    """
    key = ("spooling", *_key(None))
    producer = _shared.get(key)
    if producer is None:
        from workflow_events import WorkflowEventProducer

        made = WorkflowEventProducer(
            connect_timeout=None,
            security_protocol="PLAINTEXT",
            sasl_mechanism="",
            sasl_username="",
            sasl_password="",
            ssl_cafile="",
            ssl_certfile="",
            ssl_keyfile="",
        )
        producer = _shared.setdefault(key, made)
    return producer


def forget(producer: Any) -> None:
    """Makes the next call of ``get_kafka_producer`` build another: this one was closed."""
    for key, shared in list(_shared.items()):
        if shared is producer:
            _shared.pop(key, None)


def _key(bootstrap_servers: str | None) -> tuple[Any, ...]:
    settings = tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith(_PREFIXES)))
    return (os.getpid(), bootstrap_servers, settings)
