"""runner.yaml on a real scheduler of each Airflow: pools, times, tenants, jobs that are killed, and the events.

One play for each version, whose acts the tests then look at. Two schedules of the tenant acme and one of globex run all
the time; one job is killed with its worker, one is cleared while it runs, the scheduler of one is killed, one file is
wrong. What acme has completed goes to a LangGraph server.
"""

import json
import os
import signal
import sqlite3
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import pytest
from kit.bridge import Bridge
from kit.jobs import BUSY, ONCE, Schedules, lives, overlap, parent, read_journal, spans, write_runner
from kit.poll import poll
from kit.reader import Kafka
from langgraph_server import LangGraph
from real_airflow import Airflow, Ended, wait_for

#: Runs of the tenant acme that are waited for: RUNNER_RUNS=50 for longer.
RUNS = int(os.environ.get("RUNNER_RUNS", "12"))
WITHIN = 900.0 + 30 * RUNS

# As ONCE, with its begin and its end in the journal.
SEEN = (
    """
echo "$RUNNER_JOB_NAME begin $(date +%s.%N)" >> journal
end() { echo "$RUNNER_JOB_NAME end $(date +%s.%N)" >> journal; exit $1; }
if [ -e $RUNNER_JOB_NAME.pids ]; then end 0; fi
trap 'sleep 1; end 1' TERM
"""
    + ONCE
)

SCHEDULES: Schedules = {
    "acme-a": ("acme", BUSY.format(2), {"interval_seconds": 5}),
    "acme-b": ("acme", BUSY.format(2), {"interval_seconds": 5, "tags": {"team": "sales"}}),
    "globex": ("globex", BUSY.format(2), {"interval_seconds": 5}),
    "yearly": ("acme", "echo never >> journal", {"cron": "@yearly", "timezone": "Europe/Berlin"}),
    "killed": ("initech", ONCE, {"cron": "0 0 29 2 *"}),
    "cleared": ("initech", ONCE, {"cron": "0 0 29 2 *", "max_concurrent_runs": 2}),
    "restarted": ("hooli", SEEN, {"cron": "0 0 29 2 *"}),
    "off": ("acme", "true", {"interval_seconds": 5, "enabled": False}),
}

#: What is triggered, and how its run ends.
BY_HAND = {"killed": "failed", "cleared": "success", "restarted": "success"}

ROUTING = """
agents:
  analyst: {{langgraph: {{url: "{url}", assistant: analyst}}}}
rules:
  - name: acme
    when: {{event_type: [WORKFLOW_COMPLETED], metadata: {{scope: [dag], tenant_id: [acme]}}}}
    to: [analyst]
    input: {{event: "{{{{ event }}}}"}}
"""


@dataclass
class Play:
    """What was seen of it."""

    version: int
    prepared: Ended
    dag_file: str
    pools: Dict[str, int]
    journal: List[Tuple[str, str, float]]
    runs: Dict[str, List[str]]
    survivors: List[int]
    events: List[Dict[str, Any]]
    executions: Dict[str, int]
    task_log: str
    placeholder: Dict[str, Any] = field(default_factory=dict)


def write_files(folder: Path) -> Path:
    """The schedules, and one whose job's file is wrong."""
    broken = ("acme", "true", {"cron": "0 0 29 2 *"})
    path = write_runner(folder, "airflow", {**SCHEDULES, "broken": broken})
    (folder / "broken.yaml").write_text("tenant_id: [acme]\n")
    return path


def rows(airflow: Airflow, query: str) -> List[Tuple[Any, ...]]:
    database = sqlite3.connect(f"file:{airflow.home / 'airflow.db'}?mode=rw", uri=True, timeout=60)
    try:
        return database.execute(query).fetchall()
    finally:
        database.close()


@pytest.fixture(scope="module", params=[2, 3], ids=["airflow-2.8.4", "airflow-3.3.2"])
def play(request: pytest.FixtureRequest, kafka: Kafka, langgraph: LangGraph) -> Iterator[Play]:
    airflow = Airflow(request.param, samples=False)
    try:
        topic = kafka.topic(f"runner-{airflow.version}")
        with Bridge(kafka, topic, routing=ROUTING.format(url=langgraph.url)):
            yield played(airflow, kafka, topic, langgraph)
    finally:
        airflow.close()


def played(airflow: Airflow, kafka: Kafka, topic: str, langgraph: LangGraph) -> Play:
    config = write_files(airflow.folder / "jobs")
    folder = config.parent
    env = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap,
        "KAFKA_TOPIC": topic,
        "WORKFLOW_EVENTS_SPOOL_DIR": str(airflow.folder / "spool"),
        # Several tasks at once, which needs another database elsewhere than in a test.
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "_AIRFLOW__SKIP_DATABASE_EXECUTOR_COMPATIBILITY_CHECK": "1",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC": "5",
    }
    command = ["-m", "workflow_runner", "start", "orchestrated", "--runner-config", str(config), "--prepare-only"]
    prepared = airflow.python(*command, "--dags-folder", str(airflow.dags), **env)
    pools = dict(rows(airflow, "select pool, slots from slot_pool where pool like 'tenant_%'"))
    pids: List[int] = []
    with airflow.scheduler(**env) as processes:
        wait_for(
            WITHIN,
            "the DAGs are there",
            lambda: sorted(row[0] for row in rows(airflow, "select dag_id from dag")),
            processes,
            lambda names: len(names) == len(SCHEDULES),
        )
        # Not before the start of the schedules: nothing runs then.
        date = datetime.now(timezone.utc).isoformat()
        for name in BY_HAND:
            airflow.trigger(name, "by-hand", date)

        def begun(name: str) -> List[int]:
            path = folder / f"{name}.pids"
            wait_for(WITHIN, f"{name} runs", path.exists, processes)
            mine = [int(pid) for pid in path.read_text().split()[1:]]
            pids.extend(mine)
            return mine

        def have_ended(*names: str) -> None:
            wait_for(
                WITHIN,
                f"{names} have ended",
                lambda: [airflow.state("dag_run", dag_id=name, run_id="by-hand") for name in names],
                processes,
                lambda states: states == [BY_HAND[name] for name in names],
            )

        os.kill(parent(begun("killed")[0]), signal.SIGKILL)
        begun("cleared")
        airflow.run("tasks", "clear", "-y", "cleared")
        have_ended("killed", "cleared")
        begun("restarted")
        airflow.replace_scheduler(processes, **env)
        have_ended("restarted")
        wait_for(
            WITHIN,
            "the jobs of the tenants have run",
            lambda: Counter(name for name, what, _ in read_journal(folder) if what == "end"),
            processes,
            lambda seen: seen["acme-a"] + seen["acme-b"] >= RUNS and seen["globex"] >= 4,
        )
        # A job ends before its run is published, and one that a new scheduler has started again has ended twice.
        wait_for(
            WITHIN,
            "the runs of acme are published",
            lambda: len({event["event_id"] for event in kafka.events(topic) if of_acme(event)}),
            processes,
            lambda count: count >= RUNS,
        )
        placeholder = dict(zip(("description", "tag"), rows(airflow, _PLACEHOLDER)[0]))
        wait_for(
            WITHIN,
            "the callback of the killed run has published",
            lambda: [event["workflow_id"] for event in kafka.events(topic)],
            processes,
            lambda seen: "killed" in seen,
        )
        # While the scheduler runs: what it leaves is ended with it.
        survivors = poll(60, "the jobs have ended", lambda: [pid for pid in pids if lives(pid)], lambda left: not left)
    airflow.python("-m", "workflow_events", "drain", **env)
    runs: Dict[str, List[str]] = {}
    for name, state in rows(airflow, "select dag_id, state from dag_run order by id"):
        runs.setdefault(name, []).append(state)
    events = kafka.events(topic)
    wanted = {event["event_id"] for event in events if of_acme(event)}

    def executed() -> Dict[str, int]:
        return {event_id: count for event_id, count in langgraph.executions().items() if event_id in wanted}

    poll(120, "the agent has run for each", lambda: len(executed()), lambda count: count == len(wanted), every=0.5)
    poll(120, "no run of the agent is left", langgraph.busy, lambda busy: busy == 0, every=0.5)
    text = (airflow.dags / "workflow_runner_dags.py").read_text()
    task_log = next((airflow.home / "logs" / "dag_id=acme-b").rglob("*.log")).read_text()
    return Play(
        airflow.version,
        prepared,
        text,
        pools,
        read_journal(folder),
        runs,
        survivors,
        events,
        executed(),
        task_log,
        placeholder,
    )


_PLACEHOLDER = (
    "select dag.description, dag_tag.name from dag join dag_tag on dag.dag_id = dag_tag.dag_id "
    "where dag.dag_id = 'broken'"
)


def of_acme(event: Dict[str, Any]) -> bool:
    return event["event_type"] == "WORKFLOW_COMPLETED" and event["metadata"]["tenant_id"] == "acme"


def test_prepare_makes_the_pools_and_writes_the_file(play: Play) -> None:
    assert play.pools == {"tenant_acme": 1, "tenant_globex": 1, "tenant_hooli": 1, "tenant_initech": 1}
    assert play.dag_file.startswith("# The Airflow DAGs of a runner.yaml")
    assert "'off'" not in play.dag_file
    kinds = [json.loads(line)["event_type"] for line in play.prepared.text.splitlines() if line.startswith("{")]
    assert kinds == ["orchestrator_starting", "schedule_skipped", "schedule_config_error"]


def test_a_wrong_job_file_stays_in_sight_and_stops_no_other(play: Play) -> None:
    assert play.placeholder["tag"] == "config-error"
    assert "schedule broken: " in play.placeholder["description"]
    assert "`tenant_id`: expected 1 to 200 letters" in play.placeholder["description"]


def test_two_jobs_of_one_tenant_never_run_at_once_and_those_of_two_tenants_do(play: Play) -> None:
    acme = spans(play.journal, "acme-a", "acme-b")
    assert len(acme) >= RUNS and {name for _, _, name in acme} == {"acme-a", "acme-b"}
    for (_, end, _), (begin, _, _) in zip(acme, acme[1:]):
        assert end <= begin, acme
    assert overlap(acme, spans(play.journal, "globex"))


def test_what_a_job_writes_is_in_the_log_of_its_task(play: Play) -> None:
    assert "acme-b works for acme" in play.task_log
    assert "job_running" in play.task_log and "job_completed" in play.task_log
    assert "acme-a" not in play.task_log


def test_a_new_schedule_waits_for_its_next_time(play: Play) -> None:
    assert "yearly" not in play.runs
    found = {name: play.runs[name] for name in BY_HAND}
    assert found == {name: [state] for name, state in BY_HAND.items()}, "and what was triggered ran once"


def test_a_job_leaves_no_process_when_its_worker_is_killed_or_it_is_cleared_or_started_again(play: Play) -> None:
    assert play.survivors == []


def test_a_job_that_a_new_scheduler_starts_again_waits_for_its_end(play: Play) -> None:
    # The process of before hears of it later than the new one is started.
    first, second = spans(play.journal, "restarted")
    assert first[1] <= second[0]


def test_each_run_is_one_event_with_its_own_job(play: Play) -> None:
    by_run: Dict[Tuple[str, str], set[str]] = {}
    for event in play.events:
        by_run.setdefault((event["workflow_id"], event["workflow_run_id"]), set()).add(event["event_id"])
        assert (event["source"], event["metadata"]["scope"]) == ("AIRFLOW", "dag")
        assert event["metadata"]["tenant_id"] == SCHEDULES[event["workflow_id"]][0]
        assert event["metadata"]["connector_type"] == "stripe"
        assert event["metadata"]["tags"] == SCHEDULES[event["workflow_id"]][2].get("tags", {})
        data = event["payload"]["data"]
        assert data.get("job_name", event["workflow_id"]) == event["workflow_id"]
    assert all(len(ids) == 1 for ids in by_run.values()), by_run
    ended = {name: [state for state in states if state in ("success", "failed")] for name, states in play.runs.items()}
    published = Counter(name for name, _ in by_run)
    for name, states in ended.items():
        assert published[name] >= len(states), (name, states, published)
    # Of the task, before the callback's.
    first = next(event for event in play.events if event["workflow_id"] == "acme-b")
    assert {"exit_code": 0, "attempts": 1, "tenant_id": "acme"}.items() <= first["payload"]["data"].items()


def test_the_run_of_a_killed_worker_is_a_failure_and_one_that_starts_again_is_published_once(play: Play) -> None:
    of_killed = [event for event in play.events if event["workflow_id"] == "killed"]
    assert {event["event_type"] for event in of_killed} == {"WORKFLOW_FAILED"}
    for name in ("cleared", "restarted"):
        mine = [event for event in play.events if event["workflow_id"] == name]
        assert {event["event_type"] for event in mine} == {"WORKFLOW_COMPLETED"}


def test_a_rule_on_the_tenant_runs_its_agent_once_for_each_run(play: Play) -> None:
    wanted = {event["event_id"] for event in play.events if of_acme(event)}
    assert len(wanted) >= RUNS
    assert play.executions == dict.fromkeys(wanted, 1)


PROGRAM = """
import json, sys, warnings

with warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter("always")
    from airflow_integration import create_airflow_dags
    from workflow_runner import RunnerConfig
    dags = create_airflow_dags(
        RunnerConfig.from_yaml(sys.argv[1]),
        pools={"tenant_acme": 1},
        start_dates={"nightly": "2026-01-31T12:00:00+00:00", "edited": "yesterday"},
    )

def about(dag):
    task = dag.tasks[0]
    return {
        "schedule": str(getattr(dag.timetable, "_expression", getattr(dag.timetable, "expression", dag.schedule_interval
                        if hasattr(dag, "schedule_interval") else dag.schedule))),
        "zone": str(dag.timezone.name),
        "start": str(dag.start_date),
        "catchup": dag.catchup,
        "max_active_runs": dag.max_active_runs,
        "paused": dag.is_paused_upon_creation,
        "tags": sorted(dag.tags),
        "task": [task.task_id, task.pool, task.retries],
        "callbacks": [bool(dag.on_success_callback), bool(dag.on_failure_callback)],
        "description": dag.description,
    }

mine = [str(one.message) for one in warned if "workflow_runner" in one.filename]
print("FOUND " + json.dumps([mine, {name: about(dag) for name, dag in dags.items()}]))
"""


def test_a_schedule_becomes_a_dag_without_a_warning(airflow: Airflow, tmp_path: Path) -> None:
    def schedule(name: str, tenant: str, **more: Any) -> Dict[str, Any]:
        (tmp_path / f"{name}.yaml").write_text(json.dumps({"tenant_id": tenant, "connector": "stripe"}))
        return {"name": name, "config": f"{name}.yaml", **more}

    schedules = [
        schedule("nightly", "acme", cron="@daily", timezone="Europe/Berlin", max_concurrent_runs=2, tags={"a": 1}),
        schedule("often", "acme", interval_seconds=45),
        schedule("unprepared", "globex", interval_seconds=45),
        schedule("edited", "acme", interval_seconds=45),
        schedule("off", "acme", interval_seconds=45, enabled=False),
    ]
    path = tmp_path / "runner.yaml"
    path.write_text(json.dumps({"runner": {"orchestrator": {"type": "airflow", "schedules": schedules}}}))
    ended = airflow.python("-c", PROGRAM, str(path))
    line = next(line for line in ended.text.splitlines() if line.startswith("FOUND "))
    warned, dags = json.loads(line[len("FOUND ") :])
    assert warned == []
    assert sorted(dags) == ["edited", "nightly", "often", "unprepared"]
    assert dags["nightly"] == {
        "schedule": "0 0 * * *",
        "zone": "Europe/Berlin",
        "start": dags["nightly"]["start"],
        "catchup": False,
        "max_active_runs": 2,
        "paused": False,
        "tags": ["a:1", "connector:stripe", "tenant:acme"],
        "task": ["run_nightly", "tenant_acme", 0],
        "callbacks": [True, True],
        "description": f"Runs {tmp_path / 'nightly.yaml'} of tenant acme, as {path} says",
    }
    assert dags["nightly"]["start"].startswith("2026-01-31")
    assert dags["often"]["schedule"] == "0:00:45"
    unprepared = dags["unprepared"]
    assert (unprepared["tags"], unprepared["schedule"]) == (["config-error"], "None")
    assert "tenant globex has no pool yet" in unprepared["description"]
    edited = dags["edited"]
    assert edited["tags"] == ["config-error"], "what Airflow refuses of one schedule hides no other"
    assert "schedule edited: no DAG can be made: " in edited["description"]


def test_an_airflow_that_is_not_ready_is_69_and_a_wrong_file_78(airflow: Airflow, tmp_path: Path) -> None:
    config = write_files(tmp_path / "jobs")
    command = [str(airflow.bin / "python"), "-m", "workflow_runner", "start", "orchestrated", "--prepare-only"]

    def start(**more: str) -> "subprocess.CompletedProcess[str]":
        line = [*command, "--runner-config", str(config), "--dags-folder", str(tmp_path / "dags")]
        return subprocess.run(line, env=airflow.env(**more), capture_output=True, text=True, timeout=300)

    nowhere = start(AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{tmp_path / 'no' / 'such.db'}")
    assert nowhere.returncode == 69, nowhere.stderr
    assert json.loads(nowhere.stderr.splitlines()[-1])["event_type"] == "orchestrator_error"
    assert not (tmp_path / "dags").exists(), "a DAG whose pool is not there"
    config.write_text(config.read_text().replace('"airflow"', '"airflo"'))
    assert start().returncode == 78
