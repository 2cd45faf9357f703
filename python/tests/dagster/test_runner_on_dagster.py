"""runner.yaml on a real Dagster: `start orchestrated`, tenants, runs that are cancelled or killed, the events, the end.

One play, whose acts the tests then look at. The process of one run is killed; then everything is, while jobs run, and
started again. It is stopped in order, and started once more, to publish what the stop has interrupted.
"""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Set, Tuple

import pytest
from kit.jobs import (
    BUSY,
    ONCE,
    Schedules,
    lives,
    overlap,
    parent,
    processes_with,
    read_journal,
    read_runs,
    spans,
    write_runner,
)
from kit.poll import poll
from kit.process import Process, Scratch, free_port, prepared
from kit.reader import Kafka
from kit.spool import SpoolFolder

PYTHON = prepared("dagster-venv/bin/python")
#: Runs of the tenant acme that are waited for: RUNNER_RUNS=50 for longer.
RUNS = int(os.environ.get("RUNNER_RUNS", "6"))
WITHIN = 900.0 + 60 * RUNS

SCHEDULES: Schedules = {
    "acme-a": ("acme", BUSY.format(8), {"interval_seconds": 5}),
    "acme.b": ("acme", BUSY.format(8), {"interval_seconds": 5, "tags": {"team": "sales"}}),
    # Long enough to be seen beside one of acme wherever processes start slowly.
    "globex": ("globex", BUSY.format(30), {"interval_seconds": 5}),
    "long": ("initech", ONCE, {"interval_seconds": 5}),
    "killed": ("hooli", ONCE, {"interval_seconds": 15}),
    "lost": ("umbrella", ONCE, {"interval_seconds": 15}),
    "yearly": ("acme", "echo never >> journal", {"cron": "@yearly", "timezone": "Europe/Berlin"}),
    "off": ("acme", "true", {"interval_seconds": 5, "enabled": False}),
}


#: The schedule and the id of a run.
Runs = Set[Tuple[str, str]]


@dataclass
class Play:
    """What was seen of it."""

    journal: List[Tuple[str, str, float]]
    begun: Runs
    ended: Runs
    events: List[Dict[str, Any]]
    cancelled: str
    killed: Dict[str, str]
    survivors: List[int]
    log: List[Dict[str, Any]]
    status: int
    left: List[str]


def environment(home: Path, **more: str) -> Dict[str, str]:
    return {**os.environ, "DAGSTER_HOME": str(home), "DAGSTER_DISABLE_TELEMETRY": "yes", **more}


def terminate(port: int, run_id: str) -> Any:
    """As the button of the web interface does it."""
    query = "mutation Terminate($run: String!) { terminateRun(runId: $run) { __typename } }"
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql",
        json.dumps({"query": query, "variables": {"run": run_id}}).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["data"]["terminateRun"]["__typename"]


@pytest.fixture(scope="module")
def play(kafka: Kafka) -> Iterator[Play]:
    assert PYTHON.is_file(), f"Dagster is not in {PYTHON}: run `make dagster-venv`"
    scratch = Scratch("dagster")
    try:
        yield played(scratch.path, kafka)
    finally:
        kill_all(scratch.path / "home")
        scratch.remove()


def played(folder: Path, kafka: Kafka) -> Play:
    topic = kafka.topic("dagster")
    config = write_runner(folder / "jobs", "dagster", SCHEDULES)
    jobs, home, port = config.parent, folder / "home", free_port()
    env = environment(
        home,
        KAFKA_BOOTSTRAP_SERVERS=kafka.bootstrap,
        KAFKA_TOPIC=topic,
        WORKFLOW_EVENTS_SPOOL_DIR=str(folder / "spool"),
    )
    command = [str(PYTHON), "-m", "workflow_runner", "start", "orchestrated", "--runner-config", str(config)]
    command += ["--port", str(port)]
    processes: List[int] = []
    killed: Dict[str, str] = {}

    def wait_for(process: Process, what: str, look: Callable[[], Any], until: Callable[[Any], Any]) -> Any:
        def ended_or(seen: Tuple[Any, Any]) -> bool:
            return seen[0] is not None or bool(until(seen[1]))

        _, seen = poll(WITHIN, what, lambda: (process.status(), look()), ended_or, every=0.5)
        assert process.status() is None, process.tail(100)
        return seen

    def begun(process: Process, name: str) -> Tuple[str, List[int]]:
        """The run of a job that waits for ever, and its processes."""
        path = jobs / f"{name}.pids"
        wait_for(process, f"{name} runs", path.exists, bool)
        run, *mine = path.read_text().split()
        processes.extend(int(pid) for pid in mine)
        return run, [int(pid) for pid in mine]

    def published() -> List[Tuple[str, str, str]]:
        return [(one["workflow_id"], one["event_type"], one["workflow_run_id"]) for one in kafka.events(topic)]

    first = Process("the runner", command, folder / "log", folder, env)
    try:
        killed["killed"], mine = begun(first, "killed")
        os.kill(parent(mine[0]), signal.SIGKILL)
        failure = ("killed", "WORKFLOW_FAILED", killed["killed"])
        wait_for(first, "the run of the killed process is published", published, lambda seen: failure in seen)
        killed["lost"], _ = begun(first, "lost")
        begun(first, "long")
        # Of a run that has not begun its job it is known later that it was killed.
        wait_for(first, "a job of acme runs", lambda: last_of(read_journal(jobs), "acme"), lambda last: last == "begin")
    finally:
        kill_all(home)
        first.kill()
    cut(jobs)
    (jobs / "long.pids").unlink()
    process = Process("the runner", command, folder / "log", folder, env)
    try:

        def seen() -> Tuple[int, bool]:
            journal = read_journal(jobs)
            acme = spans(journal, "acme-a", "acme.b")
            return len(acme), overlap(acme, spans(journal, "globex"))

        failure = ("lost", "WORKFLOW_FAILED", killed["lost"])
        wait_for(process, "the run that was lost is published", published, lambda seen: failure in seen)
        cancelled, _ = begun(process, "long")
        assert terminate(port, cancelled) == "TerminateRunSuccess"
        wait_for(process, "the jobs have run", seen, lambda seen: seen[0] >= RUNS and seen[1])
        again = {(name, "WORKFLOW_COMPLETED") for name in killed}
        wait_for(process, "their tenants go on", published, lambda seen: again <= {one[:2] for one in seen})
        survivors = poll(
            120, "the jobs have ended", lambda: [pid for pid in processes if lives(pid)], lambda left: not left
        )
    finally:
        process.signal(signal.SIGTERM)
        status = process.wait(120)
    left = poll(60, "everything has ended", lambda: processes_with("DAGSTER_HOME", home), lambda left: not left)
    log = [json.loads(line) for line in process.lines() if line.startswith("{")]
    journal, runs, ended = read_journal(jobs), read_runs(jobs, "begun"), read_runs(jobs, "ended")
    drain(env)
    last = Process("the runner", command, folder / "log", folder, env)
    try:

        def unpublished() -> Runs:
            return runs - {(name, run) for name, _, run in published()}

        wait_for(last, "each run that has begun is published", unpublished, lambda left: not left)
    finally:
        last.signal(signal.SIGTERM)
        last.wait(120)
    drain(env)
    return Play(journal, runs, ended, kafka.events(topic), cancelled, killed, survivors, log, status, left)


def drain(env: Dict[str, str]) -> None:
    done = subprocess.run([str(PYTHON), "-m", "workflow_events", "drain"], env=env, timeout=180)
    assert done.returncode == 0


def kill_all(home: Path) -> None:
    """SIGKILL for everything of this Dagster, as when its container ends."""

    def kill() -> List[str]:
        left = processes_with("DAGSTER_HOME", home)
        for line in left:
            with suppress(ProcessLookupError):
                os.kill(int(line.split()[0]), signal.SIGKILL)
        return left

    poll(60, "everything is killed", kill, lambda left: not left)


def last_of(journal: List[Tuple[str, str, float]], tenant: str) -> str:
    return next((what for name, what, _ in reversed(journal) if name.startswith(tenant)), "")


def cut(jobs: Path) -> None:
    """Writes into the journal that the jobs which ran have ended."""
    running = {name: what for name, what, _ in read_journal(jobs)}
    with (jobs / "journal").open("a") as file:
        for name, what in running.items():
            if what == "begin":
                file.write(f"{name} end {time.time()}\n")


def test_two_jobs_of_one_tenant_never_run_at_once_and_those_of_two_tenants_do(play: Play) -> None:
    acme = spans(play.journal, "acme-a", "acme.b")
    assert len(acme) >= RUNS and {name for _, _, name in acme} == {"acme-a", "acme.b"}
    for (_, end, _), (begin, _, _) in zip(acme, acme[1:]):
        assert end <= begin, acme
    assert overlap(acme, spans(play.journal, "globex"))


def test_each_run_is_one_event_with_its_own_job(play: Play) -> None:
    found: Dict[Tuple[str, str], Set[Tuple[str, str]]] = {}
    for event in play.events:
        run = (event["workflow_id"], event["workflow_run_id"])
        found.setdefault(run, set()).add((event["event_id"], event["event_type"]))
    assert all(len(each) == 1 for each in found.values()), found
    assert play.begun <= set(found)
    completed = {run for run, each in found.items() if next(iter(each))[1] == "WORKFLOW_COMPLETED"}
    assert play.begun & completed <= play.ended
    # Each of both stops may interrupt one run of a tenant after its job has ended and before Dagster knows how.
    interrupted = Counter(SCHEDULES[name][0] for name, _ in play.ended - completed)
    assert max(interrupted.values(), default=0) <= 2, interrupted
    event = next(event for event in play.events if event["workflow_id"] == "acme.b")
    assert event["source"] == "DAGSTER"
    expected = {"scope": "dag", "tenant_id": "acme", "connector_type": "stripe", "tags": {"team": "sales"}}
    assert expected.items() <= event["metadata"].items()
    data = [one["payload"]["data"] for one in play.events if (one["workflow_id"], one["event_type"]) == _COMPLETED]
    assert {"exit_code": 0, "attempts": 1, "job_name": "acme.b"}.items() <= data[0].items()


_COMPLETED = ("acme.b", "WORKFLOW_COMPLETED")


def test_a_cancelled_run_publishes_nothing_and_no_job_leaves_a_process(play: Play) -> None:
    assert play.survivors == []
    assert play.cancelled not in [event["workflow_run_id"] for event in play.events]


@pytest.mark.parametrize("name", ["killed", "lost"])
def test_a_run_whose_process_was_killed_is_a_failure_and_its_tenant_goes_on(play: Play, name: str) -> None:
    mine = [event for event in play.events if event["workflow_run_id"] == play.killed[name]]
    assert {event["event_type"] for event in mine} == {"WORKFLOW_FAILED"}
    assert {event["event_id"] for event in mine} == {mine[0]["event_id"]}
    data = mine[0]["payload"]["data"]
    assert (data["status"], data["job_name"], data["tenant_id"]) == ("failed", name, SCHEDULES[name][0])
    assert data["error_message"].startswith("the process of the run ended before its job: ")
    assert "WORKFLOW_COMPLETED" in {event["event_type"] for event in play.events if event["workflow_id"] == name}


def test_a_schedule_that_is_not_due_or_disabled_does_not_run(play: Play) -> None:
    assert {name for name, _, _ in play.journal} == {"acme-a", "acme.b", "globex"}


def test_sigterm_ends_everything_and_the_log_says_what_happened(play: Play) -> None:
    assert (play.status, play.left) == (0, [])
    kinds = [line["event_type"] for line in play.log if "event_type" in line]
    assert kinds[0] == "orchestrator_starting" and "orchestrator_ready" in kinds and "orchestrator_error" not in kinds


def start(config: Path, env: Dict[str, str]) -> "subprocess.CompletedProcess[str]":
    command = [str(PYTHON), "-m", "workflow_runner", "start", "orchestrated", "--prepare-only"]
    return subprocess.run(
        [*command, "--runner-config", str(config)], env=env, capture_output=True, text=True, timeout=180
    )


def test_prepare_keeps_a_dagster_yaml_and_says_what_it_lacks(tmp_path: Path) -> None:
    config, home = (
        write_runner(tmp_path / "jobs", "dagster", {"a": ("acme", "true", {"interval_seconds": 5})}),
        tmp_path / "home",
    )
    assert start(config, environment(home)).returncode == 0
    settings = home / "dagster.yaml"
    written = settings.read_text()
    assert start(config, environment(home)).returncode == 0, "its own settings are right"
    settings.write_text("telemetry: {enabled: false}\n")
    done = start(config, environment(home))
    assert done.returncode == 69
    assert "expected the limit of a tenant" in done.stderr and "applyLimitPerUniqueValue" in done.stderr
    assert settings.read_text() == "telemetry: {enabled: false}\n"
    settings.write_bytes(b"telemetry: \xff\n")
    done = start(config, environment(home))
    assert done.returncode == 69 and "expected YAML" in done.stderr
    settings.write_text("telemetry: {enabled: false}\n" + written)
    assert start(config, environment(home)).returncode == 0
    without = {name: value for name, value in environment(home).items() if name != "DAGSTER_HOME"}
    done = start(config, without)
    assert done.returncode == 69 and "DAGSTER_HOME is no absolute path" in done.stderr


@pytest.mark.parametrize(
    ("names", "mistake"),
    [
        (("a-b", "a.b"), "schedule a.b: Dagster would call it a_b, as it calls a-b: rename one of them"),
        (("a-b", "run_a_b"), "schedule run_a_b: Dagster would take it for the step of a-b: rename one of them"),
    ],
)
def test_names_that_are_one_for_dagster_are_a_mistake(tmp_path: Path, names: Tuple[str, str], mistake: str) -> None:
    two = {name: ("acme", "true", {"interval_seconds": 5}) for name in names}
    config = write_runner(tmp_path / "jobs", "dagster", two)
    message = f"{config}: {mistake}\n"
    done = start(config, environment(tmp_path / "home"))
    assert (done.returncode, done.stderr.splitlines()[-1] + "\n") == (78, message)
    checked = subprocess.run(
        [sys.executable, "-m", "workflow_runner", "check", "--runner-config", str(config)],
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert (checked.returncode, checked.stderr) == (78, message)


def test_the_names_that_dagster_refuses_are_a_mistake(tmp_path: Path) -> None:
    reserved = "from dagster._core.definitions.utils import DISALLOWED_NAMES; print(*sorted(DISALLOWED_NAMES))"
    listed = subprocess.run([str(PYTHON), "-c", reserved], capture_output=True, text=True, timeout=180)
    names = listed.stdout.split()
    assert len(names) > 40, listed.stderr
    config = write_runner(tmp_path / "jobs", "dagster", {name: ("acme", "true", {"cron": "@daily"}) for name in names})
    command = [sys.executable, "-m", "workflow_runner", "check", "--runner-config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert done.returncode == 78
    refused = "{}: schedule {}: Dagster keeps the name {} for itself: rename it"
    assert sorted(done.stderr.splitlines()) == sorted(refused.format(config, name, name) for name in names)


def test_without_dagster_it_is_69_and_says_how_to_install_it(tmp_path: Path) -> None:
    config = write_runner(tmp_path / "jobs", "dagster", {"a": ("acme", "true", {"interval_seconds": 5})})
    command = [sys.executable, "-m", "workflow_runner", "start", "orchestrated", "--runner-config", str(config)]
    done = subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True, timeout=180)
    assert done.returncode == 69
    assert "pip install 'workflow-events[dagster]'" in done.stderr


FAILING = """
import dagster, json, sys
from workflow_runner import RunnerConfig, create_dagster_definitions
definitions = create_dagster_definitions(RunnerConfig.from_yaml(sys.argv[1]))
found = {}
for job in definitions.get_repository_def().get_all_jobs():
    result = job.execute_in_process(raise_on_error=False)
    failures = [event.event_specific_data.error.message for event in result.all_events if event.is_step_failure]
    found[job.name] = [result.success, dict(job.tags), job.description, failures]
print("FOUND " + json.dumps(found))

def starts(schedule):
    with dagster.build_schedule_context(dagster.DagsterInstance.get()) as context:
        return len(schedule.evaluate_tick(context).run_requests)

print("TIMES " + json.dumps({
    each.name: [each.cron_schedule, each.execution_timezone, each.default_status.value, starts(each)]
    for each in definitions.schedules
}))
"""


#: Dagster refuses a schedule that runner.yaml accepts.
REFUSING = """
import dagster
made = dagster.ScheduleDefinition
def schedule(**arguments):
    if arguments["name"] == "refused_schedule":
        raise dagster.DagsterInvalidDefinitionError("not this one")
    return made(**arguments)
dagster.ScheduleDefinition = schedule
"""


def test_what_dagster_refuses_of_one_schedule_hides_no_other(tmp_path: Path, spool: SpoolFolder) -> None:
    schedules: Schedules = {name: ("acme", "true", {"cron": "@daily"}) for name in ("fine", "refused")}
    config = write_runner(tmp_path / "jobs", "dagster", schedules)
    env = environment(tmp_path, KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
    command = [str(PYTHON), "-c", REFUSING + FAILING, str(config)]
    ran = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    line = next((line for line in ran.stdout.splitlines() if line.startswith("FOUND ")), None)
    assert line is not None, ran.stderr
    found = json.loads(line[len("FOUND ") :])
    assert (found["fine"][0], found["refused"][0]) == (True, False)
    expected = "schedule refused: no job can be made: DagsterInvalidDefinitionError: not this one"
    assert found["refused"][1:3] == [{"config-error": "true"}, expected]
    assert [event["workflow_id"] for event in spool.events()] == ["fine"]


#: Dagster cannot write a line of a job to its storage.
REFUSED = """
import dagster
def info(*_):
    raise OSError("database is locked")
dagster.DagsterLogManager.info = info
"""


def test_lines_that_dagster_refuses_end_no_job(tmp_path: Path, spool: SpoolFolder) -> None:
    config = write_runner(tmp_path / "jobs", "dagster", {"fine": ("acme", "echo a line", {"cron": "@daily"})})
    env = environment(tmp_path, KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
    command = [str(PYTHON), "-c", REFUSED + FAILING, str(config)]
    ran = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    line = next((line for line in ran.stdout.splitlines() if line.startswith("FOUND ")), None)
    assert line is not None, ran.stderr
    assert json.loads(line[len("FOUND ") :])["fine"][0] is True, line
    assert "a line (Dagster did not take it: database is locked)" in ran.stderr
    assert [event["event_type"] for event in spool.events()] == ["WORKFLOW_COMPLETED"]


def test_a_failure_and_a_wrong_file_fail_their_own_job_alone(tmp_path: Path, spool: SpoolFolder) -> None:
    schedules: Schedules = {
        "fine": ("acme", "true", {"cron": "@daily", "tags": {"tenant": "other", "team": "sales"}}),
        "failing": ("acme", "echo it broke >&2; exit 9", {"cron": "0 2 * * *", "timezone": "Europe/Berlin"}),
        "broken": ("acme", "true", {"cron": "@daily"}),
    }
    config = write_runner(tmp_path / "jobs", "dagster", schedules)
    (config.parent / "broken.yaml").write_text("connector: x\n")
    env = environment(tmp_path, KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
    ran = subprocess.run(
        [str(PYTHON), "-c", FAILING, str(config)], env=env, capture_output=True, text=True, timeout=300
    )
    line = next((line for line in ran.stdout.splitlines() if line.startswith("FOUND ")), None)
    assert line is not None, ran.stderr
    found = json.loads(line[len("FOUND ") :])
    assert found["fine"][0] is True
    assert {"tenant": "acme", "connector": "stripe", "team": "sales"}.items() <= found["fine"][1].items()
    assert found["failing"][0] is False
    assert "job failing failed with exit code 9: it broke" in found["failing"][3][0]
    assert found["broken"][0] is False and found["broken"][1]["config-error"] == "true"
    assert "`tenant_id` is missing" in found["broken"][2]
    times = json.loads(next(line for line in ran.stdout.splitlines() if line.startswith("TIMES "))[len("TIMES ") :])
    assert times == {
        "fine_schedule": ["0 0 * * *", "UTC", "RUNNING", 1],
        "failing_schedule": ["0 2 * * *", "Europe/Berlin", "RUNNING", 1],
    }
    published = {event["workflow_id"]: event["event_type"] for event in spool.events()}
    assert published == {"fine": "WORKFLOW_COMPLETED", "failing": "WORKFLOW_FAILED"}


#: Runs that Dagster calls failed: of a job that had succeeded, of one that had failed, of one that had not ended.
KILLED = """
import dagster, json, os, sys
from workflow_runner import RunnerConfig, create_dagster_definitions, dagster_runs, locks
from workflow_runner.config import job_of

config = RunnerConfig.from_yaml(sys.argv[1])
repository = create_dagster_definitions(config).get_repository_def()
schedules = {schedule.name: schedule for schedule in config.orchestrator.schedules}
jobs = {name: (schedule, job_of(schedule)) for name, schedule in schedules.items()}
instance = dagster.DagsterInstance.get()

def publish(run_id):
    entries = instance.get_records_for_run(run_id, of_type=dagster.DagsterEventType.RUN_FAILURE).records
    context = dagster.build_run_status_sensor_context(
        sensor_name="workflow_runner_failures",
        dagster_event=entries[-1].event_log_entry.dagster_event,
        dagster_instance=instance,
        dagster_run=instance.get_run_by_id(run_id),
    )
    dagster_runs.publish_failure(context.for_run_failure(), jobs)

for name in ("fine", "failing"):
    run_id = repository.get_job(name).execute_in_process(instance=instance, raise_on_error=False).run_id
    if name == "fine":
        instance.report_run_failed(instance.get_run_by_id(run_id), "killed")
    publish(run_id)

def statuses():
    return [instance.get_run_by_id(run_id).status.value for run_id in (begun, held, young)]

started = dagster.DagsterRunStatus.STARTED
begun, held, young = (
    instance.create_run_for_job(repository.get_job("fine"), status=started).run_id for _ in range(3)
)
assert dagster_runs.begin(instance, begun) and dagster_runs.begin(instance, held)
os.close(dagster_runs._held.pop(begun))
counts = [dagster_runs.end_runs_without_process(instance, schedules)]
found = statuses()
publish(begun)
dagster_runs.BEGINS_WITHIN = 0
counts.append(dagster_runs.end_runs_without_process(instance, schedules))
locked = sorted(os.listdir(os.path.join(instance.root_directory, locks.FOLDER, "runs"))) == [held]
late = dagster_runs.begin(instance, young)
print("FOUND " + json.dumps([counts, found, statuses(), late, locked]))
"""


def test_a_run_ends_that_no_process_holds_and_its_end_is_published_once(tmp_path: Path, spool: SpoolFolder) -> None:
    schedules: Schedules = {
        "fine": ("acme", "true", {"cron": "@daily"}),
        "failing": ("acme", "exit 9", {"cron": "@daily"}),
    }
    config, home = write_runner(tmp_path / "jobs", "dagster", schedules), tmp_path / "home"
    home.mkdir()
    env = environment(home, KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
    ran = subprocess.run([str(PYTHON), "-c", KILLED, str(config)], env=env, capture_output=True, text=True, timeout=300)
    line = next((line for line in ran.stdout.splitlines() if line.startswith("FOUND ")), None)
    assert line is not None, ran.stderr
    counts, before, after, may_begin, is_clean = json.loads(line[len("FOUND ") :])
    assert (counts, before, after) == (
        [1, 1],
        ["FAILURE", "STARTED", "STARTED"],
        ["FAILURE", "STARTED", "FAILURE"],
    ), "the one that is held, and at first the one that may still begin, go on"
    assert may_begin is False, "it was ended, so its job is not started"
    assert is_clean, "the locks of ended runs are removed"
    found = Counter((event["workflow_id"], event["event_type"], event["event_id"]) for event in spool.events())
    # The process of the first was killed between its event and its end: the same event again.
    assert sorted((name, kind, count) for (name, kind, _), count in found.items()) == [
        ("failing", "WORKFLOW_FAILED", 1),
        ("fine", "WORKFLOW_COMPLETED", 2),
        ("fine", "WORKFLOW_FAILED", 1),
    ]
