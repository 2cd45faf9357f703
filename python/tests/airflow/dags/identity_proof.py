"""A task that publishes and then fails in its first attempt after each start, in a run that a second task holds open.

Every odd attempt fails, so each of the three lives of the task (at first, cleared alone while the run goes on, cleared
with the whole run) is two attempts: the automatic retry publishes what the first already did. The second task waits
an hour for its own retry, unless it is cleared.
"""

import json
import os
from datetime import datetime, timedelta

import own_host  # noqa: F401
from airflow_integration import (
    dag_success_callback,
    publish_event_from_taskflow_context,
    publishes_completion,
    task_failure_callback,
    task_success_callback,
)

try:
    from airflow.sdk import dag, task
except ImportError:
    from airflow.decorators import dag, task

FOLDER = os.environ.get("TEST_FOLDER", "")


def note(context):
    ti, run = context["ti"], context["dag_run"]
    attempt = getattr(ti, "_try_number", None) or ti.try_number
    line = {"try": attempt, "max_tries": ti.max_tries, "clear_number": run.clear_number}
    with open(os.path.join(FOLDER, "attempts.jsonl"), "a") as file:
        file.write(json.dumps(line) + "\n")
    return attempt


@dag(
    dag_id="identity_proof",
    start_date=datetime(2025, 1, 1),
    schedule=None,
    catchup=False,
    is_paused_upon_creation=False,
    on_success_callback=dag_success_callback,
)
def identity_proof():
    @task(
        retries=1,
        retry_delay=timedelta(seconds=0),
        on_success_callback=task_success_callback,
        on_retry_callback=task_failure_callback,
    )
    def flaky(**context):
        publish_event_from_taskflow_context("WORKFLOW_COMPLETED", {"status": "success"}, **context)
        if note(context) % 2 == 1:
            raise ValueError("every odd attempt fails")

    @task(retries=1, retry_delay=timedelta(hours=1))
    def hold():
        if not os.path.exists(os.path.join(FOLDER, "released")):
            raise ValueError("held")

    @task
    @publishes_completion
    def decorated():
        return {"rows": 3}

    [flaky(), hold(), decorated()]


identity_proof()
