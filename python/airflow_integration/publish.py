"""The helpers that a task calls. Each returns ``True`` when Kafka acknowledged the event, else ``False``.

Their invariant: none raises an ``Exception``, whatever is passed and whatever fails, and none takes longer than its
deadline (5 s in a task); an event that Kafka did not acknowledge by then is in the spool, and the log says so.

The subject of an event decides its ``metadata.scope``:

- ``dag``: ``publish_dag_completion_event``, the DAG callbacks, the listener's DAG-run events, a generic publish where
  no task instance of that run is known, and ``scope="dag"``;
- ``task``: everything else; ``metadata.task_id`` names the task.

Every helper takes ``producer=``: anything with ``publish_event_outcome(event, topic=, timeout=)``, instead of the
shared producer. See ``keywords`` for unknown keywords, ``events`` for the event of a call, ``sending`` for how it is
sent.
"""

from __future__ import annotations

from .context import CallArgs
from .event_types import event_type_name, type_of_status
from .events import publish_dag, publish_generic, publish_task
from .keywords import checks_keywords
from .sending import SendOptions, never_raises, timeout_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@never_raises
@checks_keywords
def publish_workflow_event(
    event_type: Any,
    workflow_id: str | None = None,
    workflow_run_id: str | None = None,
    payload: Any = None,
    metadata: Any = None,
    topic: str | None = None,
    *,
    dag_id: str | None = None,
    dag_run_id: str | None = None,
    key: str | None = None,
    timeout: float | None = None,
    scope: str | None = None,
    producer: Any = None,
    **context: Any,
) -> bool:
    """Publishes an event of any type, about any DAG run.

    event_type: an ``EventType``, or its name in any case; any other text is published as it stands, with a warning.
    workflow_id, workflow_run_id: the DAG and its run (``dag_id`` and ``dag_run_id`` are accepted too); default: those
        of the context, of the task that runs, of ``AIRFLOW_CTX_*``.
    payload: a dict, which is sent as ``{"data": {...}}``; ``{"data": {...}}`` and a ``WorkflowEventPayload`` are sent
        as they are, any other value as ``{"data": {"value": ...}}``. A value without a JSON form is converted
        (docs/python.md).
    metadata: a dict or a ``WorkflowEventMetadata``, laid over ``environment`` and ``version`` (the variables
        ENVIRONMENT, else dev, and EVENT_SCHEMA_VERSION, else 1.0), ``scope`` and what is known of the task.
    topic: default: the variable KAFKA_TOPIC, else workflow-events.
    key: distinguishes the publishes of one task; must be the same in each retry; default: a digest of the payload.
    timeout: seconds to wait for Kafka; default 5, and 1 in a DAG callback; 0: straight into the spool.
    scope: ``dag`` or ``task``; default: ``task`` inside a task of that run, else ``dag``.
    producer: publishes instead of the shared one, which is set up by the variables ``KAFKA_*`` and
        ``WORKFLOW_EVENTS_SPOOL_*``: a ``WorkflowEventProducer``, or what has its ``publish_event_outcome``.
    context: an Airflow context. A keyword that is neither of it nor of the task's own arguments is logged.

    Returns ``True`` when Kafka acknowledged the event, else ``False``: then it is in the spool, or the log says why it
    is not. Raises nothing.
    """
    args = CallArgs(
        workflow_id if workflow_id is not None else dag_id,
        workflow_run_id if workflow_run_id is not None else dag_run_id,
        context=context,
    )
    options = SendOptions(metadata, topic, key, timeout_in(timeout, context), producer)
    return publish_generic(event_type_name(event_type), args, payload, scope, options)


@never_raises
@checks_keywords
def publish_event_from_taskflow_context(
    event_type: Any,
    payload: Any = None,
    metadata: Any = None,
    topic: str | None = None,
    *,
    dag_id: str | None = None,
    dag_run_id: str | None = None,
    key: str | None = None,
    timeout: float | None = None,
    scope: str | None = None,
    producer: Any = None,
    **context: Any,
) -> bool:
    """Publishes an event about the run that the task's ``**context`` belongs to.

    event_type: an ``EventType``, or its name in any case; any other text is published as it stands, with a warning.
    payload: a dict, which is sent as ``{"data": {...}}``; ``{"data": {...}}`` and a ``WorkflowEventPayload`` are sent
        as they are, any other value as ``{"data": {"value": ...}}``. A value without a JSON form is converted
        (docs/python.md).
    metadata: a dict or a ``WorkflowEventMetadata``, laid over ``environment`` and ``version`` (the variables
        ENVIRONMENT, else dev, and EVENT_SCHEMA_VERSION, else 1.0), ``scope`` and what is known of the task.
    topic: default: the variable KAFKA_TOPIC, else workflow-events.
    dag_id, dag_run_id: override the context; its ``run_id`` is used when it has no ``dag_run`` and no ``ti``.
    key: distinguishes the publishes of one task; must be the same in each retry; default: a digest of the payload.
    timeout: seconds to wait for Kafka; default 5, and 1 in a DAG callback; 0: straight into the spool.
    scope: ``dag`` or ``task``; default: ``task`` inside a task of that run, else ``dag``.
    producer: publishes instead of the shared one, which is set up by the variables ``KAFKA_*`` and
        ``WORKFLOW_EVENTS_SPOOL_*``: a ``WorkflowEventProducer``, or what has its ``publish_event_outcome``.
    context: an Airflow context. A keyword that is neither of it nor of the task's own arguments is logged.

    Returns ``True`` when Kafka acknowledged the event, else ``False``: then it is in the spool, or the log says why it
    is not. Raises nothing.
    """
    args = CallArgs(dag_id, dag_run_id, context=context)
    options = SendOptions(metadata, topic, key, timeout_in(timeout, context), producer)
    return publish_generic(event_type_name(event_type), args, payload, scope, options)


@never_raises
@checks_keywords
def publish_task_completion_event(
    task_id: str | None = None,
    dag_id: str | None = None,
    dag_run_id: str | None = None,
    task_result: Any = None,
    task_status: Any = "success",
    error_message: Any = None,
    metadata: Any = None,
    topic: str | None = None,
    *,
    run_id: str | None = None,
    map_index: int | None = None,
    max_tries: int | None = None,
    try_number: int | None = None,
    key: str | None = None,
    timeout: float | None = None,
    producer: Any = None,
    **context: Any,
) -> bool:
    """Publishes that a task completed or failed, with scope ``task``.

    task_id, dag_id, dag_run_id (or run_id): whose completion it is; default: those of the context, of the task that
        runs, of ``AIRFLOW_CTX_*``.
    task_result: any value, into ``payload.data.result``; a value without a JSON form is converted (docs/python.md).
    task_status: ``success`` is WORKFLOW_COMPLETED, ``failed`` is WORKFLOW_FAILED, and docs/airflow.md lists the rest;
        what is not known is WORKFLOW_FAILED, with a warning. Also in ``payload.data.status``.
    error_message: into ``payload.data.error_message``.
    metadata: a dict or a ``WorkflowEventMetadata``, laid over ``environment`` and ``version`` (the variables
        ENVIRONMENT, else dev, and EVENT_SCHEMA_VERSION, else 1.0), ``scope`` and what is known of the task.
    topic: default: the variable KAFKA_TOPIC, else workflow-events.
    map_index, max_tries, try_number: default: those of the running task.
    key: a part of the event's id, for where the attempt is not known (a child process): a retry keeps the id then.
    timeout: seconds to wait for Kafka; default 5, and 1 in a DAG callback; 0: straight into the spool.
    producer: publishes instead of the shared one, which is set up by the variables ``KAFKA_*`` and
        ``WORKFLOW_EVENTS_SPOOL_*``: a ``WorkflowEventProducer``, or what has its ``publish_event_outcome``.
    context: an Airflow context. ``status``, ``result`` and ``error`` are other names of ``task_status``,
        ``task_result`` and ``error_message``; a keyword that is neither of the context nor of the task's own arguments
        is logged.

    Returns ``True`` when Kafka acknowledged the event, else ``False``: then it is in the spool, or the log says why it
    is not. Raises nothing.
    """
    event_type, status = type_of_status(task_status)
    data: dict[str, Any] = {"status": status}
    if task_result is not None:
        data["result"] = task_result
    if error_message is not None:
        data["error_message"] = error_message
    args = CallArgs(
        dag_id, dag_run_id if dag_run_id is not None else run_id, None, map_index, max_tries, try_number, context
    )
    return publish_task(
        event_type, task_id, args, data, SendOptions(metadata, topic, key, timeout_in(timeout, context), producer)
    )


@never_raises
@checks_keywords
def publish_dag_completion_event(
    dag_id: str | None = None,
    dag_run_id: str | None = None,
    dag_status: Any = "success",
    task_results: Any = None,
    error_message: Any = None,
    metadata: Any = None,
    topic: str | None = None,
    *,
    run_id: str | None = None,
    clear_number: int | None = None,
    key: str | None = None,
    timeout: float | None = None,
    producer: Any = None,
    **context: Any,
) -> bool:
    """Publishes that a whole DAG run completed or failed, with scope ``dag``.

    dag_id, dag_run_id (or run_id): whose completion it is; default: those of the context, of the task that runs, of
        ``AIRFLOW_CTX_*``.
    dag_status: ``success`` is WORKFLOW_COMPLETED, ``failed`` is WORKFLOW_FAILED, and docs/airflow.md lists the rest;
        what is not known is WORKFLOW_FAILED, with a warning. Also in ``payload.data.status``.
    task_results: any value, into ``payload.data.task_results``; a value without a JSON form is converted
        (docs/python.md).
    error_message: into ``payload.data.error_message``.
    metadata: a dict or a ``WorkflowEventMetadata``, laid over ``environment`` and ``version`` (the variables
        ENVIRONMENT, else dev, and EVENT_SCHEMA_VERSION, else 1.0) and ``scope``.
    topic: default: the variable KAFKA_TOPIC, else workflow-events.
    clear_number: how often the run was cleared; default: that of the known DAG run.
    key: a part of the event's id, for where the attempt is not known (a child process): a retry keeps the id then.
    timeout: seconds to wait for Kafka; default 5, and 1 in a DAG callback; 0: straight into the spool.
    producer: publishes instead of the shared one, which is set up by the variables ``KAFKA_*`` and
        ``WORKFLOW_EVENTS_SPOOL_*``: a ``WorkflowEventProducer``, or what has its ``publish_event_outcome``.
    context: an Airflow context. ``status`` and ``error`` are other names of ``dag_status`` and ``error_message``; a
        keyword that is neither of the context nor of the task's own arguments is logged.

    Returns ``True`` when Kafka acknowledged the event, else ``False``: then it is in the spool, or the log says why it
    is not. Raises nothing.
    """
    event_type, status = type_of_status(dag_status)
    data: dict[str, Any] = {"status": status}
    if task_results is not None:
        data["task_results"] = task_results
    if error_message is not None:
        data["error_message"] = error_message
    args = CallArgs(dag_id, dag_run_id if dag_run_id is not None else run_id, clear_number, context=context)
    return publish_dag(
        event_type, args, data, SendOptions(metadata, topic, key, timeout_in(timeout, context), producer)
    )
