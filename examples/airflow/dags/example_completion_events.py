"""Events without code in the tasks: a decorator for tasks, and callbacks for tasks and the DAG.

``load`` publishes its own completion with what it returned, or its failure with the error. The DAG's callbacks publish
the end of the whole run (``metadata.scope`` is ``dag``), which is what an agent usually waits for.
"""

from datetime import datetime
from typing import Dict

from airflow_integration import (
    dag_failure_callback,
    dag_success_callback,
    publishes_completion,
    task_failure_callback,
    task_success_callback,
)

try:
    from airflow.sdk import dag, task
except ImportError:  # Airflow 2
    from airflow.decorators import dag, task


@dag(
    dag_id="example_completion_events",
    start_date=datetime(2025, 1, 1),
    schedule=None,
    catchup=False,
    tags=["example"],
    on_success_callback=dag_success_callback,
    on_failure_callback=dag_failure_callback,
)
def example_completion_events():
    @task(on_success_callback=task_success_callback, on_failure_callback=task_failure_callback)
    def extract() -> int:
        return 3

    @task
    @publishes_completion(metadata={"team": "data"})
    def load(rows: int) -> Dict[str, int]:
        return {"rows": rows}

    load(extract())


example_completion_events()
