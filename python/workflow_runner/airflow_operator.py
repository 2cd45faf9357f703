# mypy: disable-error-code="import-not-found,misc"
"""What this package needs of Airflow, from where Airflow 3 has it, else from where Airflow 2 has it.

The only module of the package that imports Airflow. Its invariant: importing it warns of nothing on either version.
"""

from __future__ import annotations

import pendulum

try:
    from airflow.sdk import DAG, CronTriggerTimetable
except ImportError:
    from airflow import DAG
    from airflow.timetables.trigger import CronTriggerTimetable
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
