"""A DAG that knows nothing of events and fails, in both attempts of its task."""

from datetime import datetime, timedelta

import own_host  # noqa: F401

try:
    from airflow.sdk import dag, task
except ImportError:
    from airflow.decorators import dag, task


@dag(
    dag_id="listened_failing",
    start_date=datetime(2025, 1, 1),
    schedule=None,
    catchup=False,
    is_paused_upon_creation=False,
)
def listened_failing():
    @task(retries=1, retry_delay=timedelta(seconds=0))
    def work():
        raise ValueError("not today")

    work()


listened_failing()
