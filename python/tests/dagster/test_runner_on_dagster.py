"""runner.yaml on a real Dagster: `start orchestrated`, tenants, a cancelled run, the events, the end of everything."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import pytest
from kit.jobs import BUSY, Schedules, lives, overlap, processes_with, read_journal, spans, write_runner
from kit.poll import poll
from kit.process import Process, Scratch, free_port, prepared
from kit.reader import Kafka
from kit.spool import SpoolFolder

WITHIN = 900.0
PYTHON = prepared("dagster-venv/bin/python")
#: Runs of the tenant acme that are waited for.
RUNS = 6

LONG = "sleep 1000 & echo $RUNNER_RUN_ID $$ $! > long.new; mv long.new long.pids; wait"

SCHEDULES: Schedules = {
    "acme-a": ("acme", BUSY.format(8), {"interval_seconds": 5}),
    "acme.b": ("acme", BUSY.format(8), {"interval_seconds": 5, "tags": {"team": "sales"}}),
    "globex": ("globex", BUSY.format(8), {"interval_seconds": 5}),
    "long": ("initech", LONG, {"interval_seconds": 5}),
    "yearly": ("acme", "echo never >> journal", {"cron": "@yearly", "timezone": "Europe/Berlin"}),
    "off": ("acme", "true", {"interval_seconds": 5, "enabled": False}),
}


@dataclass
class Play:
    """What was seen of it."""

    journal: List[Tuple[str, str, float]]
    events: List[Dict[str, Any]]
    cancelled: str
    survivors_of_the_cancelled: List[int]
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
        for line in processes_with("DAGSTER_HOME", scratch.path / "home"):
            os.kill(int(line.split()[0]), signal.SIGKILL)
        scratch.remove()


def played(folder: Path, kafka: Kafka) -> Play:
    topic = kafka.topic("dagster")
    config = write_runner(folder / "jobs", "dagster", SCHEDULES)
    home, port = folder / "home", free_port()
    env = environment(
        home,
        KAFKA_BOOTSTRAP_SERVERS=kafka.bootstrap,
        KAFKA_TOPIC=topic,
        WORKFLOW_EVENTS_SPOOL_DIR=str(folder / "spool"),
    )
    command = [str(PYTHON), "-m", "workflow_runner", "start", "orchestrated", "--runner-config", str(config)]
    process = Process("the runner", [*command, "--port", str(port)], folder / "log", folder, env)
    try:
        pids = folder / "jobs" / "long.pids"

        def seen() -> Tuple[Any, int, int, bool]:
            ends = [name for name, what, _ in read_journal(config.parent) if what == "end"]
            return process.status(), sum(name.startswith("acme") for name in ends), ends.count("globex"), pids.exists()

        poll(
            WITHIN,
            "the jobs have run",
            seen,
            lambda seen: seen[0] is not None or (seen[1] >= RUNS and seen[2] >= 2 and seen[3]),
            every=0.5,
        )
        assert process.status() is None, process.tail(100)
        cancelled, *mine = pids.read_text().split()
        assert terminate(port, cancelled) == "TerminateRunSuccess"
        survivors = poll(
            120, "the job has ended", lambda: [int(pid) for pid in mine if lives(int(pid))], lambda left: not left
        )
    finally:
        process.signal(signal.SIGTERM)
        status = process.wait(120)
    left = poll(60, "everything has ended", lambda: processes_with("DAGSTER_HOME", home), lambda left: not left)
    drained = subprocess.run([str(PYTHON), "-m", "workflow_events", "drain"], env=env, timeout=180)
    assert drained.returncode == 0
    log = [json.loads(line) for line in process.lines() if line.startswith("{")]
    return Play(read_journal(config.parent), kafka.events(topic), cancelled, survivors, log, status, left)


def test_two_jobs_of_one_tenant_never_run_at_once_and_those_of_two_tenants_do(play: Play) -> None:
    acme = spans(play.journal, "acme-a", "acme.b")
    assert len(acme) >= RUNS and {name for _, _, name in acme} == {"acme-a", "acme.b"}
    for (_, end, _), (begin, _, _) in zip(acme, acme[1:]):
        assert end <= begin, acme
    assert overlap(acme, spans(play.journal, "globex"))


def test_each_run_is_one_event_with_its_own_job(play: Play) -> None:
    published = [event["workflow_id"] for event in play.events]
    ended = [name for name, what, _ in play.journal if what == "end"]
    for name in ("acme-a", "acme.b", "globex"):
        assert published.count(name) == ended.count(name), (published, ended)
    ids = [event["event_id"] for event in play.events]
    assert len(set(ids)) == len(ids)
    event = next(event for event in play.events if event["workflow_id"] == "acme.b")
    assert (event["event_type"], event["source"]) == ("WORKFLOW_COMPLETED", "DAGSTER")
    expected = {"scope": "dag", "tenant_id": "acme", "connector_type": "stripe", "tags": {"team": "sales"}}
    assert expected.items() <= event["metadata"].items()
    assert {"exit_code": 0, "attempts": 1, "job_name": "acme.b"}.items() <= event["payload"]["data"].items()


def test_a_cancelled_run_publishes_nothing_and_leaves_no_process(play: Play) -> None:
    assert play.survivors_of_the_cancelled == []
    assert play.cancelled not in [event["workflow_run_id"] for event in play.events]


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
