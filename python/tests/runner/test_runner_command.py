"""`python -m workflow_runner`: check, run, their exit codes, the log and the events."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List

import pytest
from airflow_integration import publish_dag_completion_event
from kit.poll import poll
from kit.reader import Kafka
from kit.spool import SpoolFolder

NOWHERE = "127.0.0.1:1"


def environment(servers: str, topic: str) -> Dict[str, str]:
    return {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": servers, "KAFKA_TOPIC": topic, "ENVIRONMENT": "staging"}


def runner(*arguments: str, servers: str = NOWHERE, topic: str = "t") -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "workflow_runner", *arguments]
    return subprocess.run(command, env=environment(servers, topic), capture_output=True, text=True, timeout=180)


def logged(text: str) -> List[Dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def test_check_reports_every_mistake_of_all_files(jobs: Any) -> None:
    jobs.add("fine", "true")
    done = runner("check", "--runner-config", str(jobs.path))
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{jobs.path}: 1 schedule, no mistake\n", "")
    jobs.add("bad", "true", {"tenant_id": None, "retry_config": {"max_retries": "many"}})
    jobs.add("gone", "true")
    (jobs.folder / "gone.yaml").unlink()
    done = runner("check", "--runner-config", str(jobs.path))
    assert done.returncode == 78
    first, second, third = done.stderr.splitlines()
    bad = jobs.folder / "bad.yaml"
    assert first.startswith(f"{bad}:1:2: schedule bad: `tenant_id` is missing")
    assert (
        second.startswith(f"{bad}:1:") and "schedule bad: `retry_config.max_retries`: expected a whole number" in second
    )
    assert third.startswith(f"schedule gone: {jobs.folder / 'gone.yaml'}: the file cannot be read: ")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 64, "the following arguments are required: COMMAND"),
        (["run", "--runner-config", "x"], 64, "the following arguments are required: --schedule"),
        (["start", "orchestrated", "--runner-config", "x", "--port", "70000"], 64, "expected a port from 1 to 65535"),
        (["check", "--runner-config", "/no/such/runner.yaml"], 78, "/no/such/runner.yaml: the file cannot be read"),
    ],
)
def test_wrong_arguments_are_64_and_a_wrong_file_is_78(arguments: List[str], code: int, message: str) -> None:
    done = runner(*arguments)
    assert done.returncode == code
    assert message in done.stderr


def test_a_schedule_that_is_not_there_is_64_with_a_suggestion(jobs: Any) -> None:
    jobs.add("nightly", "true")
    done = runner("run", "--runner-config", str(jobs.path), "--schedule", "nigthly")
    assert done.returncode == 64
    assert done.stderr == f"{jobs.path} has no schedule nigthly: did you mean nightly?\n"


def test_a_character_that_the_stream_does_not_have_ends_no_job(jobs: Any) -> None:
    jobs.add("nightly", "echo caf\u00e9; echo done")
    command = [
        sys.executable,
        "-m",
        "workflow_runner",
        "run",
        "--runner-config",
        str(jobs.path),
        "--schedule",
        "nightly",
    ]
    ascii_only = {**environment(NOWHERE, "t"), "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, env=ascii_only, capture_output=True, text=True, timeout=180)
    assert (done.returncode, done.stdout) == (0, "caf\\xe9\ndone\n"), done.stderr


def test_a_run_publishes_one_event_with_what_rules_need(
    jobs: Any, kafka: Kafka, topic: str, spool: SpoolFolder
) -> None:
    job = {"environment": "prod", "retry_config": {"initial_delay_seconds": 0}}
    jobs.add("nightly", "echo out; [ $RUNNER_ATTEMPT = 2 ]", job, tags={"team": "data"})
    arguments = ["run", "--runner-config", str(jobs.path), "--schedule", "nightly", "--run-id", "r-1"]
    done = runner(*arguments, servers=kafka.bootstrap, topic=topic)
    assert (done.returncode, done.stdout) == (0, "out\nout\n"), done.stderr
    (event,) = kafka.events(topic)
    seconds = event["payload"]["data"].pop("execution_time_seconds")
    assert 0 < seconds < 100
    assert event["payload"]["data"] == {
        "status": "success",
        "exit_code": 0,
        "attempts": 2,
        "job_name": "nightly",
        "tenant_id": "acme",
        "connector_type": "stripe",
    }
    assert {name: event[name] for name in ("event_type", "source", "workflow_id", "workflow_run_id", "metadata")} == {
        "event_type": "WORKFLOW_COMPLETED",
        "source": "RUNNER",
        "workflow_id": "nightly",
        "workflow_run_id": "r-1",
        "metadata": {
            "environment": "prod",
            "version": "1.0",
            "scope": "dag",
            "tenant_id": "acme",
            "connector_type": "stripe",
            "tags": {"team": "data"},
        },
    }
    lines = logged(done.stderr)
    kinds = [line["event_type"] for line in lines if "event_type" in line]
    assert kinds == ["job_running", "retry_attempt", "job_running", "job_completed"]
    assert any(line.get("logger") == "airflow_integration" and "published" in line["message"] for line in lines)
    # The same as the callback of a DAG run of this name makes.
    assert publish_dag_completion_event("nightly", "r-1", "success", topic=topic, timeout=0) is False
    assert spool.event_ids() == [event["event_id"]]


def test_a_failure_has_the_jobs_code_and_the_end_of_its_errors(jobs: Any, kafka: Kafka, topic: str) -> None:
    jobs.add("broken", "echo it broke >&2; exit 42", {"environment": "lab"})
    arguments = ["run", "--runner-config", str(jobs.path), "--schedule", "broken"]
    done = runner(*arguments, servers=kafka.bootstrap, topic=topic)
    assert done.returncode == 42
    assert "it broke" in done.stderr.splitlines()
    (event,) = kafka.events(topic)
    assert event["event_type"] == "WORKFLOW_FAILED"
    data = event["payload"]["data"]
    assert (data["status"], data["exit_code"], data["attempts"], data["error_message"]) == ("failed", 42, 1, "it broke")
    assert event["metadata"]["environment"] == "staging", "the job's own is none of the three"
    assert event["workflow_run_id"].startswith("manual__20")


def test_without_a_broker_the_event_is_in_the_spool_and_the_result_stays(jobs: Any, spool: SpoolFolder) -> None:
    jobs.add("nightly", "true")
    done = runner("run", "--runner-config", str(jobs.path), "--schedule", "nightly")
    assert done.returncode == 0
    assert len(spool.files()) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_job_with_143_and_publishes_a_failure(
    jobs: Any, kafka: Kafka, topic: str, number: int, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    jobs.add("long", f"sleep 100 & echo $$ $! > {pids}.new; mv {pids}.new {pids}; wait")
    command = [sys.executable, "-m", "workflow_runner", "run", "--runner-config", str(jobs.path), "--schedule", "long"]
    with subprocess.Popen(command, env=environment(kafka.bootstrap, topic), stderr=subprocess.PIPE, text=True) as child:
        text = poll(60, "the job runs", lambda: pids.read_text() if pids.exists() else "")
        child.send_signal(number)
        _, errors = child.communicate(timeout=120)
    assert child.returncode == 143, errors
    assert all(not Path(f"/proc/{pid}").exists() for pid in text.split())
    (event,) = kafka.events(topic)
    assert (event["event_type"], event["payload"]["data"]["exit_code"]) == ("WORKFLOW_FAILED", 143)


def test_a_reader_that_has_gone_does_not_change_the_result(jobs: Any) -> None:
    jobs.add("chatty", "i=0; while [ $i -lt 5000 ]; do echo line $i; i=$((i+1)); done; exit 5")
    command = [
        sys.executable,
        "-m",
        "workflow_runner",
        "run",
        "--runner-config",
        str(jobs.path),
        "--schedule",
        "chatty",
    ]
    with subprocess.Popen(
        command, env=environment(NOWHERE, "t"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as child:
        assert child.stdout is not None
        child.stdout.close()
        assert child.wait(timeout=120) == 5
