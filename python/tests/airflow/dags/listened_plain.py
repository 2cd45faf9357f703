"""A DAG that knows nothing of events: what is published of it, the listener publishes."""

from datetime import datetime

import own_host  # noqa: F401

try:
    from airflow.sdk import dag, task
except ImportError:
    from airflow.decorators import dag, task


@dag(
    dag_id="listened_plain",
    start_date=datetime(2025, 1, 1),
    schedule=None,
    catchup=False,
    is_paused_upon_creation=False,
)
def listened_plain():
    @task
    def work():
        return 1

    work()


listened_plain()
