"""Sensors under the decorator: one that is done at its third poke, one that is rescheduled, one that times out, one
that is skipped then, and a PythonSensor whose first attempt raises."""

import os
from datetime import datetime, timedelta

import own_host  # noqa: F401
from airflow_integration import publishes_completion

try:
    from airflow.providers.standard.sensors.python import PythonSensor
    from airflow.sdk import PokeReturnValue, dag, task
except ImportError:
    from airflow.decorators import dag, task
    from airflow.sensors.base import PokeReturnValue
    from airflow.sensors.python import PythonSensor


def poked(name):
    """How often this has been poked, over all processes."""
    path = os.path.join(os.environ["TEST_FOLDER"], f"poked-{name}.txt")
    with open(path, "a") as file:
        file.write(".")
    return os.path.getsize(path)


@publishes_completion
def raises_first():
    if poked("classic") == 1:
        raise ValueError("not a file")
    return True


@dag(
    dag_id="sensing",
    start_date=datetime(2025, 1, 1),
    schedule=None,
    catchup=False,
    is_paused_upon_creation=False,
)
def sensing():
    @task.sensor(poke_interval=0.1, timeout=600, mode="poke")
    @publishes_completion
    def files():
        count = poked("files")
        return PokeReturnValue(is_done=count >= 3, xcom_value={"files": count})

    @task.sensor(poke_interval=1, timeout=600, mode="reschedule")
    @publishes_completion
    def rescheduled():
        return poked("rescheduled") >= 2

    @task.sensor(poke_interval=0.1, timeout=0.3, mode="poke", retries=2, retry_delay=timedelta(seconds=0))
    @publishes_completion
    def late():
        poked("late")
        return False

    @task.sensor(poke_interval=0.1, timeout=0.3, mode="poke", soft_fail=True)
    @publishes_completion
    def soft():
        poked("soft")
        return False

    classic = PythonSensor(
        task_id="classic",
        python_callable=raises_first,
        poke_interval=0.1,
        timeout=600,
        retries=1,
        retry_delay=timedelta(seconds=0),
    )
    [files(), rescheduled(), late(), soft(), classic]


sensing()
