"""Publishes workflow events from Airflow: helpers for tasks, a decorator, callbacks, and a listener plugin.

Nothing here imports Airflow or pydantic, so it works where neither is installed. Everything that a publish needs is
imported with the package: an import at the first publish could hang in a child that was forked meanwhile. Every
publishing function returns a ``bool`` and never raises; an event that Kafka does not acknowledge in time is in the
spool. ``identity`` defines which publishes are the same event.
"""

from .callbacks import dag_failure_callback, dag_success_callback, task_failure_callback, task_success_callback
from .decorators import publishes_completion
from .producer import get_kafka_producer
from .publish import (
    publish_dag_completion_event,
    publish_event_from_taskflow_context,
    publish_task_completion_event,
    publish_workflow_event,
)

__all__ = [
    "dag_failure_callback",
    "dag_success_callback",
    "get_kafka_producer",
    "publish_dag_completion_event",
    "publish_event_from_taskflow_context",
    "publish_task_completion_event",
    "publish_workflow_event",
    "publishes_completion",
    "task_failure_callback",
    "task_success_callback",
]
