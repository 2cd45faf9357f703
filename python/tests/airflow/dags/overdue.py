"""A DAG whose deadline is missed before it can end, where Airflow knows deadlines (3.1 and later): the callback runs in
a process of the executor, and is given the DAG run as a dict."""

from datetime import datetime, timedelta, timezone

import own_host  # noqa: F401
from airflow_integration import publish_event_from_taskflow_context

try:
    from airflow.sdk import DeadlineAlert, DeadlineReference, SyncCallback, dag, task
except ImportError:
    pass
else:

    def missed(context):
        publish_event_from_taskflow_context("WORKFLOW_FAILED", {"status": "overdue"}, **context)

    @dag(
        dag_id="overdue",
        start_date=datetime(2025, 1, 1),
        schedule=None,
        catchup=False,
        is_paused_upon_creation=False,
        deadline=DeadlineAlert(
            reference=DeadlineReference.FIXED_DATETIME(datetime(2025, 1, 3, tzinfo=timezone.utc)),
            interval=timedelta(0),
            callback=SyncCallback(missed),
        ),
    )
    def overdue():
        @task
        def work():
            pass

        work()

    overdue()
