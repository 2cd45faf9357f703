"""Publishes once from a task, and writes down how long that took and what came of it."""

import json
import os
import time
from datetime import datetime

from airflow_integration import publish_event_from_taskflow_context

try:
    from airflow.sdk import dag, task
except ImportError:
    from airflow.decorators import dag, task


@dag(dag_id="fork_probe", start_date=datetime(2025, 1, 1), schedule=None, catchup=False)
def fork_probe():
    @task
    def publish(**context):
        began = time.monotonic()
        published = publish_event_from_taskflow_context("WORKFLOW_COMPLETED", {"pid": os.getpid()}, **context)
        line = {"published": published, "seconds": time.monotonic() - began, "pid": os.getpid(), "parent": os.getppid()}
        with open(os.path.join(os.environ["TEST_FOLDER"], "fork.jsonl"), "a") as file:
            file.write(json.dumps(line) + "\n")

    publish()


fork_probe()
