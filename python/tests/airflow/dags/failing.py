"""A task whose attempts both fail: the decorator publishes each, the callback the last one again, and the DAG's
callback the end of the run. What the task's own callback is given is the exception that the decorator let through."""

import os
from datetime import datetime, timedelta

import own_host  # noqa: F401
from airflow_integration import dag_failure_callback, publishes_completion, task_failure_callback

try:
    from airflow.sdk import dag, task
except ImportError:
    from airflow.decorators import dag, task


class OutOfRows(Exception):
    pass


def note(context):
    with open(os.path.join(os.environ["TEST_FOLDER"], "passed-through.txt"), "a") as file:
        file.write(repr(context["exception"]) + "\n")


@dag(
    dag_id="failing",
    start_date=datetime(2025, 1, 1),
    schedule=None,
    catchup=False,
    is_paused_upon_creation=False,
    on_failure_callback=dag_failure_callback,
)
def failing():
    @task(retries=1, retry_delay=timedelta(seconds=0), on_failure_callback=[task_failure_callback, note])
    @publishes_completion
    def load():
        raise OutOfRows("no rows in orders")

    load()


failing()
