"""Tasks whose own arguments have the names of a helper's parameters: open, named, and of TaskFlow. Two more publish the
results of mapped tasks, which Airflow hands over as a lazy sequence."""

from datetime import datetime

from airflow_integration import publish_workflow_event

try:
    from airflow.providers.standard.operators.python import PythonOperator
    from airflow.sdk import DAG, task
except ImportError:
    from airflow import DAG
    from airflow.decorators import task
    from airflow.operators.python import PythonOperator


def open_arguments(**context):
    for part in (1, 2):
        publish_workflow_event("WORKFLOW_COMPLETED", payload={"part": part, "of": "open"}, **context)


def named_arguments(key, topic, **context):
    for part in (1, 2):
        publish_workflow_event("WORKFLOW_COMPLETED", payload={"part": part, "of": topic}, key=key, **context)


with DAG(dag_id="arguments", start_date=datetime(2025, 1, 1), schedule=None, catchup=False):
    own = {"key": "s3://bucket/file.csv", "topic": "sales", "timeout": 600, "dag_id": "otherdag"}
    first = PythonOperator(task_id="open", python_callable=open_arguments, op_kwargs=own)
    named = {"key": "s3://bucket/file.csv", "topic": "named"}
    second = PythonOperator(task_id="named", python_callable=named_arguments, op_kwargs=named)

    @task
    def taskflow(key, **context):
        publish_workflow_event("WORKFLOW_COMPLETED", payload={"part": 1, "of": "taskflow"}, key=key, **context)
        publish_workflow_event("WORKFLOW_COMPLETED", payload={"part": 2, "of": "taskflow"}, **context)

    @task
    def double(number):
        return {"number": 2 * number}

    @task
    def collect(numbers, **context):
        publish_workflow_event("WORKFLOW_COMPLETED", payload={"of": "mapped", "numbers": numbers}, **context)

    few, others = double.expand(number=[1, 2]), double.override(task_id="other").expand(number=[3, 4])
    last = taskflow("s3://bucket/file.csv")
    first >> second >> last >> [few, others]
    for numbers in (few, others):
        collect(numbers)
