"""The event of a run: one WORKFLOW_COMPLETED or WORKFLOW_FAILED, through the publish client.

Its invariant: the id is derived as for a DAG run of this name (airflow_integration/identity.py), so that a task, the
callbacks of its DAG and the listener publish one event; and publishing never changes the result of a job.
"""

from __future__ import annotations

import functools
from typing import Any, Callable, Optional

from airflow_integration.callbacks import dag_failure_callback, dag_success_callback
from airflow_integration.context import CallArgs
from airflow_integration.event_types import COMPLETED, FAILED
from airflow_integration.events import publish_dag
from airflow_integration.payload import ENVIRONMENTS
from airflow_integration.sending import IN_A_DAG_CALLBACK, SendOptions, never_raises

from .config import JobConfig, ScheduleConfig
from .job import MESSAGE, JobResult

AIRFLOW, DAGSTER, RUNNER = "AIRFLOW", "DAGSTER", "RUNNER"


@never_raises
def publish_result(
    schedule: ScheduleConfig, job: JobConfig, result: JobResult, source: str, run_id: str, context: Any = None
) -> bool:
    """Publishes how a run has ended: ``True`` when Kafka acknowledged it, else it is in the spool. Raises nothing.

    context: of the task, in Airflow: its DAG run says how often it was cleared.
    """
    failed = result.exit_code != 0
    data: dict[str, Any] = {
        "status": "failed" if failed else "success",
        "exit_code": result.exit_code,
        "attempts": result.attempts,
        **_of_job(schedule, job),
        "execution_time_seconds": result.seconds,
    }
    if failed:
        data["error_message"] = result.error_message
    args = CallArgs(dag_id=schedule.name, run_id=run_id, context=context, alone=context is None)
    options = SendOptions(metadata=metadata_of(schedule, job))
    return publish_dag(FAILED if failed else COMPLETED, args, data, options, source=source)


@never_raises
def publish_end(
    schedule: ScheduleConfig, job: JobConfig, source: str, run_id: str, *, error: Optional[str] = None
) -> bool:
    """Publishes the end of a run whose process was killed, under the id that ``publish_result`` gives it. As that.

    error: what the orchestrator says of a failure; None: the job had succeeded.
    """
    data: dict[str, Any] = {"status": "success" if error is None else "failed", **_of_job(schedule, job)}
    if error is not None:
        data["error_message"] = error[-MESSAGE:]
    args = CallArgs(dag_id=schedule.name, run_id=run_id, alone=True)
    # Other runs wait behind this one.
    options = SendOptions(metadata=metadata_of(schedule, job), timeout=IN_A_DAG_CALLBACK)
    return publish_dag(COMPLETED if error is None else FAILED, args, data, options, source=source)


def _of_job(schedule: ScheduleConfig, job: JobConfig) -> dict[str, Any]:
    return {"job_name": schedule.name, "tenant_id": job.tenant_id, "connector_type": job.connector}


def metadata_of(schedule: ScheduleConfig, job: JobConfig) -> dict[str, Any]:
    """What rules match: the tenant, the connector, the tags; the environment, when the job names one."""
    metadata: dict[str, Any] = {"tenant_id": job.tenant_id, "tags": dict(schedule.tags)}
    if job.connector is not None:
        metadata["connector_type"] = job.connector
    if job.environment in ENVIRONMENTS:
        metadata["environment"] = job.environment
    return metadata


def callbacks_of(schedule: ScheduleConfig, job: JobConfig) -> dict[str, Callable[..., bool]]:
    """Both callbacks of a DAG, with the same metadata: they publish what the task could not, because it was killed."""
    metadata = metadata_of(schedule, job)
    return {
        "on_success_callback": functools.partial(dag_success_callback, metadata=metadata),
        "on_failure_callback": functools.partial(dag_failure_callback, metadata=metadata),
    }
