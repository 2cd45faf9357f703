"""A real scheduler on each Airflow: retries, clears, failures, callbacks, the listener, and the way to LangGraph.

One play for each version, whose acts the tests then look at. A task publishes and fails in each odd attempt, so that
Airflow retries it; it is cleared alone while its run goes on, and then once more with the whole run. Beside it, runs
that fail. The scheduler has a spool folder of its own, and an address of Kafka that counts who connects.
"""

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterator, List

import pytest
from counting_proxy import CountingProxy
from kit.bridge import Bridge
from kit.poll import poll
from kit.reader import Kafka
from kit.spool import SpoolFolder
from langgraph_server import LangGraph
from real_airflow import Airflow, seen, wait_for

RUN = "proof-1"
RUNS = {
    "identity_proof": RUN,
    "listened_plain": "heard-1",
    "failing": "failed-1",
    "listened_failing": "heard-2",
    "sensing": "sensed-1",
}
"""By DAG."""
SENSORS = ("rescheduled", "late", "soft")
WITHIN = 900.0

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
    topic: str
    attempts: List[Dict[str, Any]]
    states: Dict[str, str]
    passed_through: List[str]
    pokes: Dict[str, int]
    spooled_by_the_scheduler: List[Dict[str, Any]]
    connections_of_the_scheduler: int
    before_the_drain: List[Dict[str, Any]]
    connections_of_the_drain: int
    events: List[Dict[str, Any]]

    def of(self, **wanted: Any) -> List[Dict[str, Any]]:
        """The events with these values, of themselves or of their metadata, in the order of the topic."""
        return [
            event
            for event in self.events
            if all(event.get(name, event["metadata"].get(name)) == value for name, value in wanted.items())
        ]


@pytest.fixture(scope="module")
def play(airflow: Airflow, kafka: Kafka) -> Iterator[Play]:
    with CountingProxy(kafka.bootstrap) as proxy:
        yield played(airflow, kafka, proxy)


def played(airflow: Airflow, kafka: Kafka, proxy: CountingProxy) -> Play:
    topic = kafka.topic(f"play-{airflow.version}")
    spool = SpoolFolder(airflow.folder / "spool")
    of_scheduler = SpoolFolder(airflow.folder / "spool-of-the-scheduler")
    of_tasks = {"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap, "WORKFLOW_EVENTS_SPOOL_DIR": str(spool.path)}
    env = {
        "KAFKA_BOOTSTRAP_SERVERS": proxy.address,
        "KAFKA_TOPIC": topic,
        "WORKFLOW_EVENTS_SPOOL_DIR": str(of_scheduler.path),
        "WORKFLOW_EVENTS_LISTENER": "1",
        "WORKFLOW_EVENTS_LISTENER_DAGS": "other_*, listened_*",
        "TEST_TASKS_ENVIRONMENT": json.dumps(of_tasks),
    }

    def states() -> Dict[str, str]:
        return {dag_id: airflow.state("dag_run", dag_id=dag_id, run_id=run_id) for dag_id, run_id in RUNS.items()}

    def others_ended(now: Dict[str, str]) -> bool:
        others = [now[dag_id] for dag_id in ("listened_plain", "failing", "listened_failing", "sensing")]
        return others == ["success", "failed", "failed", "failed"] and (airflow.version == 2 or missed() >= 1)

    def flaky_ended(attempts: int) -> bool:
        done = len(seen(airflow, "attempts.jsonl")) >= attempts
        return (
            done and airflow.state("task_instance", dag_id="identity_proof", run_id=RUN, task_id="flaky") == "success"
        )

    def known() -> List[Dict[str, Any]]:
        # The scheduler has no time for Kafka, and a callback not much: what is in a spool may stay there.
        return [*kafka.events(topic), *spool.events(), *of_scheduler.events()]

    def published_runs() -> Dict[str, int]:
        of_runs = {event["event_id"]: event["workflow_id"] for event in known() if event["metadata"]["scope"] == "dag"}
        return Counter(of_runs.values())

    def missed() -> int:
        return sum(event["workflow_id"] == "overdue" for event in known())

    def last_words() -> Dict[str, bool]:
        # What a task's process publishes and writes when its state, which the others wait for, is in the database. Not
        # what flaky itself publishes.
        of_tasks = [event for event in known() if event["metadata"]["scope"] == "task"]
        ends = {
            (
                event["workflow_id"],
                event["event_type"],
                event["metadata"].get("task_id"),
                event["metadata"].get("try_number"),
            )
            for event in of_tasks
            if event["payload"]["data"] != {"status": "success"}
        }
        # Of each attempt: the process of one may stand still while that of the next comes to its end.
        kinds = {1: "WORKFLOW_FAILED", 0: "WORKFLOW_COMPLETED"}
        flaky = {("identity_proof", kinds[attempt % 2], "flaky", attempt) for attempt in range(1, 7)}
        return {
            "ends of flaky": flaky <= ends,
            "heard success": ("listened_plain", "WORKFLOW_COMPLETED", "work", 1) in ends,
            "heard failures": {("listened_failing", "WORKFLOW_FAILED", "work", attempt) for attempt in (1, 2)} <= ends,
            "failure of load": bool(seen(airflow, "passed-through.txt")),
            "timeout of late": any(end[:3] == ("sensing", "WORKFLOW_FAILED", "late") for end in ends),
        }

    def at_least(wanted: Dict[str, int]) -> Callable[[Dict[str, int]], bool]:
        return lambda counts: all(counts.get(dag_id, 0) >= count for dag_id, count in wanted.items())

    airflow.run("dags", "reserialize")
    # `airflow dags test` of another module may have registered this one as paused.
    airflow.run("dags", "unpause", *(["-y"] if airflow.version == 3 else []), "listened_plain")
    for dag_id, run_id in RUNS.items():
        airflow.trigger(dag_id, run_id)
    if airflow.version == 3:
        airflow.trigger("overdue", "overdue-1")
    with airflow.scheduler(**env) as processes:
        wait_for(WITHIN, "the first attempt is retried", lambda: flaky_ended(2), processes)

        airflow.run("tasks", "clear", "-y", "-t", "flaky", "identity_proof")
        wait_for(WITHIN, "the task that was cleared alone is retried", lambda: flaky_ended(4), processes)
        assert airflow.state("dag_run", dag_id="identity_proof", run_id=RUN) == "running"

        (airflow.folder / "released").write_text("")
        airflow.run("tasks", "clear", "-y", "-t", "hold", "identity_proof")
        once = at_least({"identity_proof": 1})
        wait_for(WITHIN, "the run's completion is published", published_runs, processes, once)
        airflow.run("tasks", "clear", "-y", "identity_proof")
        wait_for(WITHIN, "the task of the cleared run is retried", lambda: flaky_ended(6), processes)
        wait_for(WITHIN, "the other runs end", states, processes, others_ended)
        all_of_it = at_least({"identity_proof": 2, "listened_plain": 2, "failing": 1, "listened_failing": 2})
        wait_for(WITHIN, "each run is published", published_runs, processes, all_of_it)
        wait_for(WITHIN, "the tasks' processes are done", last_words, processes, lambda found: all(found.values()))
    sensors = {name: airflow.state("task_instance", dag_id="sensing", task_id=name) for name in SENSORS}
    ended_in = {**states(), **sensors, "load": airflow.state("task_instance", dag_id="failing", task_id="load")}
    spooled, connections, before = of_scheduler.events(), proxy.opened, kafka.events(topic)
    for more in ({}, of_tasks):
        print(airflow.python("-m", "workflow_events", "drain", **{**env, **more}).text)
    return Play(
        version=airflow.version,
        topic=topic,
        attempts=[json.loads(line) for line in seen(airflow, "attempts.jsonl")],
        states=ended_in,
        passed_through=seen(airflow, "passed-through.txt"),
        pokes={name: len("".join(seen(airflow, f"poked-{name}.txt"))) for name in SENSORS},
        spooled_by_the_scheduler=spooled,
        connections_of_the_scheduler=connections,
        before_the_drain=before,
        connections_of_the_drain=proxy.opened - connections,
        events=kafka.events(topic),
    )


def in_order(events: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
    """By attempt: one that was spooled for a while is in the topic after later ones."""
    return sorted(events, key=lambda event: event["metadata"]["try_number"])


def its_id(event: Dict[str, Any]) -> str:
    return str(event["event_id"])


def ids(events: List[Dict[str, Any]]) -> List[str]:
    return [event["event_id"] for event in events]


def test_a_retry_repeats_the_id_and_neither_clear_does(play: Play) -> None:
    generic = in_order(play.of(event_type="WORKFLOW_COMPLETED", workflow_id="identity_proof", task_id="flaky"))
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
    failed = in_order(play.of(event_type="WORKFLOW_FAILED", workflow_id="identity_proof", task_id="flaky"))
    assert [event["metadata"]["try_number"] for event in failed] == [1, 3, 5]
    assert {event["payload"]["data"]["error_message"] for event in failed} == {"every odd attempt fails"}
    assert {event["payload"]["data"]["will_retry"] for event in failed} == {True}
    assert len(set(ids(failed))) == 3
    succeeded = in_order(play.of(event_type="WORKFLOW_COMPLETED", workflow_id="identity_proof", task_id="flaky"))
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


def test_a_failed_task_tells_of_each_attempt_and_its_exception_passes_through(play: Play) -> None:
    # The decorator of both attempts, then the callback, which is given to the last one alone.
    failures = in_order(play.of(event_type="WORKFLOW_FAILED", workflow_id="failing", task_id="load"))
    assert [event["metadata"]["try_number"] for event in failures] == [1, 2, 2]
    first, second, called_back = ids(failures)
    assert first != second == called_back
    data = [event["payload"]["data"] for event in failures]
    assert {(one["status"], one["error_message"], one["error_type"]) for one in data} == {
        ("failed", "no rows in orders", "OutOfRows")
    }
    assert [one["will_retry"] for one in data] == [True, False, False]
    assert play.of(event_type="WORKFLOW_COMPLETED", workflow_id="failing") == []
    assert play.passed_through == ["OutOfRows('no rows in orders')"]
    assert (play.states["load"], play.states["failing"]) == ("failed", "failed")


def test_the_dag_callback_publishes_the_failure_of_the_run(play: Play) -> None:
    (failed,) = play.of(workflow_id="failing", scope="dag")
    print(play.version, failed["payload"]["data"])
    assert failed["event_type"] == "WORKFLOW_FAILED"
    assert failed["workflow_run_id"] == RUNS["failing"]
    assert (failed["payload"]["data"]["status"], failed["payload"]["data"]["reason"]) == ("failed", "task_failure")


def test_a_sensor_publishes_when_it_is_done_and_not_at_each_poke(play: Play) -> None:
    print(play.version, play.pokes, {name: play.states[name] for name in SENSORS})
    pokes = play.pokes["rescheduled"]
    # Airflow makes another one when the process of a poke has stood still for too long. That is the same completion.
    assert pokes >= 2
    completed = play.of(workflow_id="sensing", task_id="rescheduled")
    assert len(set(ids(completed))) == 1
    assert len(completed) < pokes, "not at the first one"
    for event in completed:
        assert event["event_type"] == "WORKFLOW_COMPLETED"
        assert 2 <= event["payload"]["data"]["result"]["pokes"] <= pokes
    assert play.states["rescheduled"] == "success"


def test_a_sensor_that_times_out_is_one_failure_that_is_not_retried(play: Play) -> None:
    assert play.pokes["late"] >= 1  # A machine that stands still leaves no time for more.
    (late,) = play.of(workflow_id="sensing", task_id="late")
    data = late["payload"]["data"]
    assert (late["event_type"], data["error_type"]) == ("WORKFLOW_FAILED", "AirflowSensorTimeout")
    assert "timed out" in data["error_message"]
    assert data["will_retry"] is False
    assert play.states["late"] == "failed"


def test_a_sensor_that_is_skipped_publishes_nothing(play: Play) -> None:
    assert play.pokes["soft"] >= 1
    assert play.of(workflow_id="sensing", task_id="soft") == []
    assert play.states["soft"] == "skipped"


def test_a_missed_deadline_is_published_where_airflow_knows_deadlines(play: Play) -> None:
    overdue = play.of(workflow_id="overdue")
    print(play.version, overdue)
    assert [event["workflow_run_id"] for event in overdue] == ["overdue-1"] * (play.version == 3)
    assert {event["metadata"]["scope"] for event in overdue} <= {"dag"}


def counted(events: List[Dict[str, Any]]) -> "Counter[Any]":
    """How often each type was published, by subject."""
    return Counter((one["event_type"], one["metadata"]["scope"], one["metadata"].get("task_id")) for one in events)


def test_the_listener_publishes_a_dag_that_knows_nothing_of_it(play: Play) -> None:
    assert counted(play.of(workflow_id="listened_plain")) == {
        ("WORKFLOW_TRIGGERED", "dag", None): 1,
        ("WORKFLOW_COMPLETED", "task", "work"): 1,
        ("WORKFLOW_COMPLETED", "dag", None): 1,
    }


def test_the_listener_publishes_failures(play: Play) -> None:
    heard = play.of(workflow_id="listened_failing")
    assert counted(heard) == {
        ("WORKFLOW_TRIGGERED", "dag", None): 1,
        ("WORKFLOW_FAILED", "task", "work"): 2,
        ("WORKFLOW_FAILED", "dag", None): 1,
    }
    assert len(set(ids(heard))) == 4
    attempts = in_order(play.of(workflow_id="listened_failing", task_id="work"))
    assert [event["metadata"]["try_number"] for event in attempts] == [1, 2]
    assert [event["payload"]["data"]["status"] for event in attempts] == ["failed", "failed"]
    assert [event["payload"]["data"]["will_retry"] for event in attempts] == [True, False]
    assert [event["payload"]["data"]["error_message"] for event in attempts] == ["not today"] * 2
    assert play.states["listened_failing"] == "failed"


def test_the_scheduler_only_ever_spools(play: Play) -> None:
    spooled = play.spooled_by_the_scheduler
    assert sorted((event["workflow_id"], event["event_type"], event["metadata"]["scope"]) for event in spooled) == [
        ("listened_failing", "WORKFLOW_FAILED", "dag"),
        ("listened_failing", "WORKFLOW_TRIGGERED", "dag"),
        ("listened_plain", "WORKFLOW_COMPLETED", "dag"),
        ("listened_plain", "WORKFLOW_TRIGGERED", "dag"),
    ]
    assert play.connections_of_the_scheduler == 0
    assert not set(ids(spooled)) & set(ids(play.before_the_drain))
    # The drain goes the way that the scheduler did not: it is counted, and then they are in Kafka as they were.
    assert play.connections_of_the_drain > 0
    drained = [event for event in play.events if event["event_id"] in ids(spooled)]
    # Two files of one millisecond do not have their order in their names.
    assert sorted(drained, key=its_id) == sorted(spooled, key=its_id)


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

    reached = poll(300, "every event has its outcome", outcomes, lambda found: sum(found.values()) == total, every=0.2)
    poll(300, "no run is left", langgraph.busy, lambda busy: busy == 0, every=0.2)
    print(play.version, total, "records:", reached)
    executed = {event_id: count for event_id, count in langgraph.executions().items() if event_id in wanted}
    assert executed == dict.fromkeys(wanted, 1)
    assert reached["dead_lettered"] == 0
    assert reached["delivered"] == len(wanted) == 6
    assert reached["duplicate"] == 3
