"""The lines of the README's `From Airflow`, put into a DAG as they stand, on both versions."""

import re

from kit.process import ROOT
from kit.reader import Kafka
from kit.spool import SpoolFolder
from real_airflow import Airflow

README = (ROOT / "README.md").read_text()

DAG = """
from datetime import datetime

from airflow.decorators import dag


@dag(dag_id="etl_orders", start_date=datetime(2025, 1, 1), schedule=None, catchup=False)
def etl_orders():
    load_orders()


etl_orders()
"""


def test_the_lines_of_the_readme_publish_the_completion(
    airflow: Airflow, kafka: Kafka, topic: str, spool: SpoolFolder
) -> None:
    (lines,) = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    (airflow.dags / "etl_orders.py").write_text(lines + DAG)
    env = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap,
        "KAFKA_TOPIC": topic,
        "WORKFLOW_EVENTS_SPOOL_DIR": str(spool.path),
    }
    ended = airflow.dags_test("etl_orders", **env)
    (event,) = kafka.events(topic)
    assert event["event_type"] == "WORKFLOW_COMPLETED", ended.text[-4000:]
    assert event["workflow_id"] == "etl_orders"
    assert event["payload"]["data"]["result"] == {"status": "success", "rows": 100}
