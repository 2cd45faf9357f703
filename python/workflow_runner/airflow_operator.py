# mypy: disable-error-code="import-not-found,misc"
"""What this package needs of Airflow, from where Airflow 3 has it, else from where Airflow 2 has it.

The only module of the package that imports Airflow. Its invariant: importing it warns of nothing on either version.
"""

from __future__ import annotations

import logging
import os
from typing import Any

import pendulum

from .job import TERMINATED

try:
    from airflow.sdk import DAG, CronTriggerTimetable

    IS_AIRFLOW_2 = False
except ImportError:
    from airflow import DAG
    from airflow.timetables.trigger import CronTriggerTimetable

    IS_AIRFLOW_2 = True
try:
    from airflow.providers.standard.operators.python import PythonOperator
except ImportError:
    from airflow.operators.python import PythonOperator

__all__ = ["DAG", "CronTriggerTimetable", "JobOperator", "pendulum"]


class JobOperator(PythonOperator):
    """A task that runs a job: ended by Airflow, it ends the job."""

    def on_kill(self) -> None:
        stop = getattr(self.python_callable, "stop", None)
        if stop is not None:
            stop()

    def execute_callable(self) -> Any:
        try:
            return super().execute_callable()
        except BaseException:
            # Airflow 2 would take the end of this process for a failure of the one that runs the task by now.
            if IS_AIRFLOW_2 and _is_started_again(self.op_kwargs.get("ti")):
                self.log.warning(
                    "The task was started again by another scheduler, and this process ends without a result"
                )
                logging.shutdown()
                os._exit(TERMINATED)
            raise


def _is_started_again(ti: Any) -> bool:
    """Whether this task was reset or started again since this process runs it: by a new scheduler, for one that was
    killed. `airflow dags test` has no such process."""
    if getattr(ti, "job_id", None) is None:
        return False
    from airflow.models import TaskInstance
    from airflow.utils.session import create_session

    key = {"dag_id": ti.dag_id, "run_id": ti.run_id, "task_id": ti.task_id, "map_index": ti.map_index}
    try:
        with create_session() as session:
            found = session.query(TaskInstance.job_id, TaskInstance.state).filter_by(**key).first()
    except Exception:
        logging.getLogger(__name__).warning("what became of the task is not known", exc_info=True)
        return False
    return found is not None and (str(found[0]) != str(ti.job_id) or found[1] in (None, "scheduled", "queued"))
