"""The fork: ``airflow tasks run --local`` of 2.8.4 runs a task in a forked child that leaves by ``os._exit``.

Neither exit handlers nor daemon threads run to their end there, so what a helper promised must hold when it returns.
"""

import json
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import pytest
from kit.broker import Broker
from kit.poll import poll
from kit.reader import Kafka
from kit.spool import SpoolFolder
from real_airflow import Airflow, seen

DEADLINE = 5.0
"""What docs/airflow.md promises of a helper in a task."""


@pytest.fixture(scope="module")
def ready(airflow2: Airflow) -> Airflow:
    """The DAGs are in the database, so that runs can be made."""
    airflow2.run("dags", "reserialize")
    return airflow2


def run_task(airflow: Airflow, run_id: str, env: Dict[str, str], patient: bool = False) -> Dict[str, Any]:
    """Makes a run, runs its task in a fork, and returns what the task wrote down."""
    airflow.trigger("fork_probe", run_id)
    before = len(seen(airflow, "fork.jsonl"))
    ended = airflow.tasks_run("fork_probe", "publish", run_id, patient=patient, **env)
    lines = seen(airflow, "fork.jsonl")[before:]
    assert len(lines) == 1, ended.text[-4000:]
    line: Dict[str, Any] = json.loads(lines[0])
    print(run_id, line, f"the command took {ended.seconds:.1f} s")
    assert airflow.state("task_instance", dag_id="fork_probe", run_id=run_id, task_id="publish") == "success"
    return line


def environment(bootstrap: str, topic: str, spool: SpoolFolder) -> Dict[str, str]:
    return {"KAFKA_BOOTSTRAP_SERVERS": bootstrap, "KAFKA_TOPIC": topic, "WORKFLOW_EVENTS_SPOOL_DIR": str(spool.path)}


def test_the_event_of_a_forked_task_is_in_kafka(ready: Airflow, kafka: Kafka, topic: str, spool: SpoolFolder) -> None:
    line = run_task(ready, "forked", environment(kafka.bootstrap, topic, spool), patient=True)
    assert line["published"] is True
    (event,) = kafka.events(topic)
    assert event["payload"]["data"] == {"pid": line["pid"]}
    assert spool.everything() == []


@pytest.mark.parametrize("away", [Broker.kill, Broker.freeze], ids=["no broker", "a broker that never answers"])
def test_a_task_succeeds_without_kafka_and_its_event_is_published_later(
    away: Callable[[Broker], None], ready: Airflow, broker: Broker, spool: SpoolFolder, tmp_path: Path
) -> None:
    topic = broker.kafka.topic()
    env = environment(broker.bootstrap, topic, spool)
    away(broker)
    runs = [f"{away.__name__}-{tmp_path.name}"]
    line = run_task(ready, runs[0], env)
    assert line["published"] is False
    assert line["seconds"] < DEADLINE + 60.0  # of a slow machine, and far less than a client tries to deliver
    (spooled,) = spool.events()
    assert spooled["workflow_run_id"] == runs[0]

    if away is Broker.kill:
        broker.start_again()
    else:
        broker.thaw()

    def next_publish() -> Tuple[bool, List[str]]:
        runs.append(f"{runs[0]}-back-{len(runs)}")
        published = run_task(ready, runs[-1], env, patient=True)["published"]
        return published, broker.kafka.event_ids(topic)

    # The next publish that Kafka acknowledges, of any task on this host, takes it along; or one after it, if Kafka
    # needs more than a second for it. Two may do so then. A broker that just came back may not acknowledge the first.
    poll(600, "the event was taken along", next_publish, lambda seen: seen[0] and spooled["event_id"] in seen[1])
    ready.python("-m", "workflow_events", "drain", **env)
    assert spool.files() == []
    assert {event["workflow_run_id"] for event in broker.kafka.events(topic)} == set(runs)


def test_a_manual_drain_publishes_the_spool(ready: Airflow, broker: Broker, spool: SpoolFolder, tmp_path: Path) -> None:
    topic = broker.kafka.topic()
    env = environment(broker.bootstrap, topic, spool)
    broker.kill()
    assert run_task(ready, f"drained-{tmp_path.name}", env)["published"] is False
    (spooled,) = spool.events()
    broker.start_again()
    print(ready.python("-m", "workflow_events", "drain", **env).text)
    assert broker.kafka.events(topic) == [spooled]
