"""Publishes workflow events from Airflow: helpers for tasks, a decorator, callbacks, and a listener plugin.

It also has the names of ``workflow_runner`` that make DAGs. Nothing here imports Airflow or pydantic, so it works where
neither is installed. Everything that a publish needs is imported with the package: an import at the first publish could
hang in a child that was forked meanwhile. Every publishing function returns a ``bool`` and never raises; an event that
Kafka does not acknowledge in time is in the spool. ``identity`` defines which publishes are the same event.
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

TYPE_CHECKING = False
if TYPE_CHECKING:
    from workflow_runner import create_airflow_dags, create_task_function, get_dags_from_config

_OF_THE_RUNNER = ("create_airflow_dags", "create_task_function", "get_dags_from_config")

__all__ = [
    "create_airflow_dags",
    "create_task_function",
    "dag_failure_callback",
    "dag_success_callback",
    "get_dags_from_config",
    "get_kafka_producer",
    "publish_dag_completion_event",
    "publish_event_from_taskflow_context",
    "publish_task_completion_event",
    "publish_workflow_event",
    "publishes_completion",
    "task_failure_callback",
    "task_success_callback",
]


# Hidden from type checkers, which would accept any name because of it. The runner builds on this package, and is
# imported when a DAG is made of runner.yaml.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in _OF_THE_RUNNER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(__import__("workflow_runner.dags", fromlist=(name,)), name)
