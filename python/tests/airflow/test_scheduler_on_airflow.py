"""A real scheduler on each Airflow: retries, clears, callbacks, the listener, and the whole way to LangGraph.

One play for each version, whose acts the tests then look at. A task publishes and fails in each odd attempt, so that
Airflow retries it; it is cleared alone while its run goes on, and then once more with the whole run.
"""

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List

import pytest
from kit.bridge import Bridge
from kit.poll import poll
from kit.reader import Kafka
from kit.spool import SpoolFolder
from langgraph_server import LangGraph
from real_airflow import Airflow, seen, wait_for

RUN = "proof-1"
WITHIN = 180.0

ROUTING = """
agents:
  analyst: {{langgraph: {{url: "{url}", assistant: analyst}}}}
rules:
  - name: analyse-completed-tasks
    when:
      event_type: [WORKFLOW_COMPLETED]
      workflow_id: [identity_proof]
      metadata: {{scope: [task], task_id: [flaky]}}
    to: [analyst]
    input: {{event: "{{{{ event }}}}"}}
"""


@dataclass
class Play:
    """What was seen of it."""

    version: int
    attempts: List[Dict[str, Any]]
    spooled_by_the_scheduler: List[Dict[str, Any]]
    events: List[Dict[str, Any]]
    topic: str

    def of(self, **wanted: Any) -> List[Dict[str, Any]]:
        """The events with these values, of themselves or of their metadata, in the order of the topic."""
        return [
            event
            for event in self.events
            if all(event.get(name, event["metadata"].get(name)) == value for name, value in wanted.items())
        ]


@pytest.fixture(scope="module")
def play(airflow: Airflow, kafka: Kafka) -> Play:
    topic = kafka.topic(f"play-{airflow.version}")
    spool = SpoolFolder(airflow.folder / "spool")
    env = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap,
        "KAFKA_TOPIC": topic,
        "WORKFLOW_EVENTS_SPOOL_DIR": str(spool.path),
        "WORKFLOW_EVENTS_LISTENER": "1",
        "WORKFLOW_EVENTS_LISTENER_DAGS": "other_*, listened_*",
    }

    def flaky_ended(attempts: int) -> bool:
        done = len(seen(airflow, "attempts.jsonl")) >= attempts
        return (
            done and airflow.state("task_instance", dag_id="identity_proof", run_id=RUN, task_id="flaky") == "success"
        )

    def dag_completions() -> int:
        # A DAG callback has a second; what Kafka did not take by then is in the spool, and nothing publishes after it.
        known = [*kafka.events(topic), *spool.events()]
        of_runs = [event for event in known if event["metadata"]["scope"] == "dag"]
        return len({event["event_id"] for event in of_runs if event["workflow_id"] == "identity_proof"})

    airflow.run("dags", "reserialize")
    for dag_id, run_id in (("identity_proof", RUN), ("listened_plain", "heard-1")):
        airflow.run("dags", "unpause", "-y", dag_id) if airflow.version == 3 else airflow.run("dags", "unpause", dag_id)
        airflow.trigger(dag_id, run_id)
    with airflow.scheduler(**env) as processes:
        wait_for(WITHIN, "the first attempt is retried", lambda: flaky_ended(2), processes)
        heard = {"dag_id": "listened_plain", "run_id": "heard-1"}
        wait_for(WITHIN, "the listened run ends", lambda: airflow.state("dag_run", **heard) == "success", processes)

        airflow.run("tasks", "clear", "-y", "-t", "flaky", "identity_proof")
        wait_for(WITHIN, "the task that was cleared alone is retried", lambda: flaky_ended(4), processes)
        assert airflow.state("dag_run", dag_id="identity_proof", run_id=RUN) == "running"

        (airflow.folder / "released").write_text("")
        airflow.run("tasks", "clear", "-y", "-t", "hold", "identity_proof")
        wait_for(WITHIN, "the run's completion is published", lambda: dag_completions() >= 1, processes)
        airflow.run("tasks", "clear", "-y", "identity_proof")
        wait_for(WITHIN, "the task of the cleared run is retried", lambda: flaky_ended(6), processes)
        wait_for(WITHIN, "the second completion is published", lambda: dag_completions() >= 2, processes)
    left = spool.events()
    print(airflow.python("-m", "workflow_events", "drain", **env).text)
    attempts = [json.loads(line) for line in seen(airflow, "attempts.jsonl")]
    return Play(airflow.version, attempts, left, kafka.events(topic), topic)


def ids(events: List[Dict[str, Any]]) -> List[str]:
    return [event["event_id"] for event in events]


def test_a_retry_repeats_the_id_and_neither_clear_does(play: Play) -> None:
    generic = play.of(event_type="WORKFLOW_COMPLETED", workflow_id="identity_proof", task_id="flaky")
    generic = [event for event in generic if event["payload"]["data"] == {"status": "success"}]
    for attempt, event in zip(play.attempts, generic):
        print(play.version, attempt, event["event_id"])
    assert len(generic) == len(play.attempts) == 6
    first, retried, alone, alone_retried, whole, whole_retried = ids(generic)
    assert first == retried
    assert alone == alone_retried
    assert whole == whole_retried
    assert len({first, alone, whole}) == 3
    assert [attempt["try"] for attempt in play.attempts] == [1, 2, 3, 4, 5, 6]
    limits = [attempt["max_tries"] for attempt in play.attempts]
    assert limits[0] == limits[1] < limits[2] == limits[3] < limits[4] == limits[5]


def test_the_task_callbacks_know_the_attempt(play: Play) -> None:
    failed = play.of(event_type="WORKFLOW_FAILED", workflow_id="identity_proof", task_id="flaky")
    assert [event["metadata"]["try_number"] for event in failed] == [1, 3, 5]
    assert {event["payload"]["data"]["error_message"] for event in failed} == {"every odd attempt fails"}
    assert {event["payload"]["data"]["will_retry"] for event in failed} == {True}
    assert len(set(ids(failed))) == 3
    succeeded = play.of(event_type="WORKFLOW_COMPLETED", workflow_id="identity_proof", task_id="flaky")
    succeeded = [event for event in succeeded if event["payload"]["data"].get("task_id") == "flaky"]
    assert [event["metadata"]["try_number"] for event in succeeded] == [2, 4, 6]
    assert len(set(ids(succeeded))) == 3


def test_the_decorator_publishes_what_the_task_returned(play: Play) -> None:
    decorated = play.of(workflow_id="identity_proof", task_id="decorated")
    assert [event["payload"]["data"]["result"] for event in decorated] == [{"rows": 3}] * 2
    assert len(set(ids(decorated))) == 2


def test_the_dag_callback_publishes_each_completion_of_the_run_once(play: Play) -> None:
    completed = play.of(event_type="WORKFLOW_COMPLETED", workflow_id="identity_proof", scope="dag")
    print(play.version, [(event["event_id"], event["payload"]["data"]) for event in completed])
    assert len(set(ids(completed))) == len(completed) == 2
    assert {event["payload"]["data"]["status"] for event in completed} == {"success"}


def test_the_listener_publishes_a_dag_that_knows_nothing_of_it(play: Play) -> None:
    heard = play.of(workflow_id="listened_plain")
    told = Counter(
        (event["event_type"], event["metadata"]["scope"], event["metadata"].get("task_id")) for event in heard
    )
    assert told == {
        ("WORKFLOW_TRIGGERED", "dag", None): 1,
        ("WORKFLOW_COMPLETED", "task", "work"): 1,
        ("WORKFLOW_COMPLETED", "dag", None): 1,
    }


def test_the_listener_leaves_other_dags_alone(play: Play) -> None:
    assert play.of(event_type="WORKFLOW_TRIGGERED", workflow_id="identity_proof") == []


@pytest.fixture(scope="module")
def bridge(play: Play, kafka: Kafka, langgraph: LangGraph) -> Iterator[Bridge]:
    with Bridge(kafka, play.topic, routing=ROUTING.format(url=langgraph.url)) as bridge:
        yield bridge


def test_langgraph_runs_once_for_each_completion(play: Play, bridge: Bridge, langgraph: LangGraph) -> None:
    wanted = set(ids([e for e in play.of(event_type="WORKFLOW_COMPLETED", task_id="flaky")]))
    total = len(play.events)

    def outcomes() -> Dict[str, float]:
        names = ("delivered", "duplicate", "unmatched", "dead_lettered")
        return {name: bridge.metric("workflow_bridge_events_total", f'outcome="{name}"') for name in names}

    reached = poll(90, "every event has its outcome", outcomes, lambda found: sum(found.values()) == total, every=0.2)
    poll(60, "no run is left", langgraph.busy, lambda busy: busy == 0, every=0.2)
    print(play.version, total, "records:", reached)
    executed = {event_id: count for event_id, count in langgraph.executions().items() if event_id in wanted}
    assert executed == dict.fromkeys(wanted, 1)
    assert reached["dead_lettered"] == 0
    assert reached["delivered"] == len(wanted) == 6
    assert reached["duplicate"] == 3
