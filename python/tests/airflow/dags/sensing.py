"""Sensors under the decorator: one that is rescheduled and done at its second poke, one that times out, and one that is
skipped then."""

import os
from datetime import datetime, timedelta

import own_host  # noqa: F401
from airflow_integration import publishes_completion

try:
    from airflow.sdk import PokeReturnValue, dag, task
except ImportError:
    from airflow.decorators import dag, task
    from airflow.sensors.base import PokeReturnValue


def poked(name):
    """How often this has been poked, over all processes."""
    path = os.path.join(os.environ["TEST_FOLDER"], f"poked-{name}.txt")
    with open(path, "a") as file:
        file.write(".")
    return os.path.getsize(path)


@dag(
    dag_id="sensing",
    start_date=datetime(2025, 1, 1),
    schedule=None,
    catchup=False,
    is_paused_upon_creation=False,
)
def sensing():
    @task.sensor(poke_interval=1, timeout=3600, mode="reschedule", retries=2, retry_delay=timedelta(seconds=0))
    @publishes_completion
    def rescheduled():
        count = poked("rescheduled")
        return PokeReturnValue(is_done=count >= 2, xcom_value={"pokes": count})

    @task.sensor(poke_interval=0.1, timeout=5, mode="poke", retries=2, retry_delay=timedelta(seconds=0))
    @publishes_completion
    def late():
        poked("late")
        return False

    @task.sensor(poke_interval=0.1, timeout=5, mode="poke", soft_fail=True)
    @publishes_completion
    def soft():
        poked("soft")
        return False

    [rescheduled(), late(), soft()]


sensing()
