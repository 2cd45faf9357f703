"""``airflow dags test`` of each example on each Airflow: what is in Kafka afterwards, and what is in the spool when
there is no Kafka, or none that answers."""

from datetime import datetime, timezone
from pathlib import Path
from typing import Callable, Dict, Iterator, List

import pytest
from kit.broker import Broker
from kit.reader import Kafka
from kit.spool import Spooled, SpoolFolder
from real_airflow import Airflow


@pytest.fixture
def env(kafka: Kafka, topic: str, tmp_path: Path) -> Dict[str, str]:
    return {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap,
        "KAFKA_TOPIC": topic,
        "WORKFLOW_EVENTS_SPOOL_DIR": str(tmp_path / "spool"),
        "ENVIRONMENT": "staging",
        "EVENT_SCHEMA_VERSION": "1.1",
    }


def described(events: List[dict]) -> List[tuple]:
    """Type, scope and task of each event, in order."""
    return [(e["event_type"], e["metadata"]["scope"], e["metadata"].get("task_id")) for e in events]


def test_the_etl_example_publishes_its_completion(
    airflow: Airflow, kafka: Kafka, topic: str, env: Dict[str, str]
) -> None:
    airflow.dags_test("example_etl_dag", **env)
    (record,) = kafka.read(topic)
    event = record.event
    assert described([event]) == [("WORKFLOW_COMPLETED", "task", "publish_completion")]
    assert event["payload"] == {
        "data": {
            "status": "success",
            "etl_result": {"loaded": 2, "total": 42},
            "message": "ETL workflow completed successfully",
        }
    }
    assert event["metadata"] == {
        "environment": "staging",
        "version": "1.1",
        "scope": "task",
        "task_id": "publish_completion",
        "map_index": -1,
        "try_number": 1,
    }
    assert event["workflow_id"] == "example_etl_dag"
    assert record.key == "example_etl_dag/" + event["workflow_run_id"]
    assert record.headers["event_id"] == event["event_id"]


def test_the_integration_example_publishes_three_events(
    airflow: Airflow, kafka: Kafka, topic: str, env: Dict[str, str]
) -> None:
    airflow.dags_test("example_kafka_integration", **env)
    events = kafka.events(topic)
    assert described(events) == [
        ("WORKFLOW_COMPLETED", "task", "process_data"),
        ("WORKFLOW_TRIGGERED", "task", "publish_custom_event"),
        ("WORKFLOW_COMPLETED", "dag", None),
    ]
    assert [event["payload"]["data"].get("status") for event in events] == ["success", "success", "success"]
    assert events[1]["metadata"]["team"] == "data"
    assert events[2]["payload"]["data"]["task_results"]["custom event published"] is True


def test_the_decorator_and_the_callbacks_publish(
    airflow: Airflow, kafka: Kafka, topic: str, env: Dict[str, str]
) -> None:
    ended = airflow.dags_test("example_completion_events", **env)
    events = kafka.events(topic)
    assert described(events) == [
        ("WORKFLOW_COMPLETED", "task", "extract"),
        ("WORKFLOW_COMPLETED", "task", "load"),
        ("WORKFLOW_COMPLETED", "dag", None),
    ], ended.text[-3000:]
    assert events[1]["payload"]["data"] == {"task_id": "load", "status": "success", "result": {"rows": 3}}
    assert events[2]["payload"]["data"]["status"] == "success"
    assert [event["metadata"].get("try_number") for event in events] == [1, 1, None]


@pytest.fixture(scope="module")
def one_broker() -> Iterator[Broker]:
    """A broker for these tests alone, which take it away and bring it back."""
    with Broker({"broker.session.timeout.ms": "3000", "broker.heartbeat.interval.ms": "500"}) as broker:
        yield broker


PROMISED = {"task": 5.0, "dag": 1.0}
"""Seconds until an event is in the spool, as docs/airflow.md has it: of a task, and of a DAG callback."""
SLOW = 60.0
"""What a slow machine may add: far less than the two minutes for which a client tries to deliver."""

SPOOLED = {
    "example_etl_dag": [("WORKFLOW_COMPLETED", "task", "publish_completion")],
    "example_completion_events": [
        ("WORKFLOW_COMPLETED", "task", "extract"),
        ("WORKFLOW_COMPLETED", "task", "load"),
        ("WORKFLOW_COMPLETED", "dag", None),
    ],
}


@pytest.mark.parametrize(
    "version, away, back, name",
    [
        pytest.param(2, Broker.kill, Broker.start_again, "example_completion_events", id="2.8.4, no broker"),
        pytest.param(3, Broker.kill, Broker.start_again, "example_completion_events", id="3.3.2, no broker"),
        # That of 2.8.4 is in test_fork_on_airflow.py.
        pytest.param(3, Broker.freeze, Broker.thaw, "example_etl_dag", id="3.3.2, a broker that never answers"),
    ],
)
def test_without_a_broker_they_run_as_well(
    version: int,
    away: Callable[[Broker], None],
    back: Callable[[Broker], None],
    name: str,
    request: pytest.FixtureRequest,
    one_broker: Broker,
    env: Dict[str, str],
    spool: SpoolFolder,
) -> None:
    """The sentence of examples/airflow/README.md."""
    airflow: Airflow = request.getfixturevalue(f"airflow{version}")
    kafka = one_broker.kafka
    topic = kafka.topic()
    env.update(KAFKA_BOOTSTRAP_SERVERS=kafka.bootstrap, KAFKA_TOPIC=topic)
    away(one_broker)
    try:
        ended = airflow.dags_test(name, patient=False, **env)
    finally:
        back(one_broker)
    waiting = spool.events()
    assert described(waiting) == SPOOLED[name], ended.text[-4000:]
    run_id = waiting[0]["workflow_run_id"]
    assert airflow.state("dag_run", dag_id=name, run_id=run_id) == "success"
    states = airflow.state("task_instance", dag_id=name, run_id=run_id).split(",")
    assert set(states) == {"success"}, states
    took = [(one.event["metadata"]["scope"], waited(one)) for one in spool.spooled()]
    print(version, name, took, f"the command took {ended.seconds:.1f} s")
    assert all(seconds < PROMISED[scope] + SLOW for scope, seconds in took), took
    assert kafka.events(topic) == []

    print(airflow.python("-m", "workflow_events", "drain", **env).text)
    assert kafka.events(topic) == waiting
    assert spool.everything() == []


def waited(spooled: Spooled) -> float:
    """Seconds from an event's own time until it was in the spool."""
    made = datetime.strptime(spooled.event["timestamp"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
    return spooled.path.stat().st_mtime - made.timestamp()


def test_the_listener_hears_a_dag_that_knows_nothing_of_it(
    airflow: Airflow, kafka: Kafka, topic: str, env: Dict[str, str], spool: SpoolFolder
) -> None:
    listening = {"WORKFLOW_EVENTS_LISTENER": "1", "WORKFLOW_EVENTS_LISTENER_DAGS": "listened_*"}
    airflow.dags_test("listened_plain", **listening, **env)
    airflow.python("-m", "workflow_events", "drain", **env)
    assert spool.files() == []
    published = described(kafka.events(topic))
    print(airflow.version, published)
    assert ("WORKFLOW_COMPLETED", "task", "work") in published
    assert ("WORKFLOW_COMPLETED", "dag", None) in published
    assert len(set(published)) == len(published)
