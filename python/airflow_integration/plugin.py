"""The plugin that Airflow finds in the wheel's entry points: the listener, off by default.

The only module that imports Airflow, which loads it. It decides whether the listener is active, and nothing else:
``WORKFLOW_EVENTS_LISTENER=1`` in the environment of the scheduler and of the workers.
"""

from __future__ import annotations

import os

from airflow.plugins_manager import AirflowPlugin

from . import listener


def _listeners() -> list[object]:
    if not listener.switched_on(os.environ):
        return []
    from airflow.listeners import hookimpl

    class Hooked(listener.WorkflowEventsListener):
        """The hooks, marked for Airflow."""

        on_dag_run_running = hookimpl(listener.WorkflowEventsListener.on_dag_run_running)
        on_dag_run_success = hookimpl(listener.WorkflowEventsListener.on_dag_run_success)
        on_dag_run_failed = hookimpl(listener.WorkflowEventsListener.on_dag_run_failed)
        on_task_instance_success = hookimpl(listener.WorkflowEventsListener.on_task_instance_success)
        on_task_instance_failed = hookimpl(listener.WorkflowEventsListener.on_task_instance_failed)

    class WithError(Hooked):
        """From 2.10 on: the hook is called with the exception."""

        @hookimpl
        def on_task_instance_failed(self, previous_state: object, task_instance: object, error: object) -> None:
            self.task_failed(task_instance, error)

    return [WithError() if _passes_the_error() else Hooked()]


def _passes_the_error() -> bool:
    from airflow import __version__

    numbers = [int(part) for part in __version__.split(".")[:2] if part.isdecimal()]
    return numbers >= [2, 10]


class WorkflowEventsPlugin(AirflowPlugin):
    """Publishes DAG-run and task events of chosen DAGs."""

    name = "workflow_events"
    listeners = _listeners()
