"""Integration guide: a task's completion, good and bad. Corrected: a task instance has run_id, not dag_run_id."""

from datetime import datetime

from airflow.decorators import dag, task
from airflow_integration import publish_task_completion_event


def process_data():
    return {"rows": 3}


@dag(dag_id="guide_task_completion", start_date=datetime(2025, 1, 1), schedule=None, catchup=False)
def task_completion():
    @task
    def my_task(**context):
        try:
            result = process_data()

            publish_task_completion_event(
                task_id=context["ti"].task_id,
                dag_id=context["ti"].dag_id,
                dag_run_id=context["ti"].run_id,
                task_result=result,
                task_status="success",
            )

            return result
        except Exception as e:
            publish_task_completion_event(
                task_id=context["ti"].task_id,
                dag_id=context["ti"].dag_id,
                dag_run_id=context["ti"].run_id,
                task_status="failed",
                error_message=str(e),
            )
            raise

    my_task()


task_completion()
