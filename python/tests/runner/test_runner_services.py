"""The services of an orchestrator: their end, their lines, a port that is taken. Programs of sh stand for Airflow's."""

import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Dict, List

import pytest
from kit.poll import poll
from kit.process import Process, free_port
from workflow_runner.errors import OrchestratorError, Stopped
from workflow_runner.services import run_services, run_to_end

#: Says that it runs, and on SIGTERM, after a while, that it ends. The shell itself would say how its child ended.
POLITE = "exec 2>/dev/null; trap 'sleep 1; echo bye; exit 0' TERM; echo up; while :; do sleep 0.1; done"


def run(commands: Dict[str, List[str]], stopping: Any, **more: Any) -> List[str]:
    lines: List[str] = []
    run_services(commands, {}, lines.append, lambda: stopping(lines), **more)
    return lines


def test_what_services_say_while_they_end_is_passed_on() -> None:
    polite = ["/bin/sh", "-c", POLITE]
    lines = run({"a": polite, "b": polite}, lambda lines: {"a | up", "b | up"} <= set(lines))
    assert sorted(lines) == ["a | bye", "a | up", "b | bye", "b | up"]


def test_stubborn_services_end_together_after_ten_seconds() -> None:
    stubborn = ["/bin/sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.1; done"]
    began = time.monotonic()
    run({name: stubborn for name in "abc"}, lambda lines: len(lines) >= 3)
    # Not ten seconds for each.
    assert 10 <= time.monotonic() - began < 25


def test_the_end_of_one_service_ends_the_others_in_order() -> None:
    lines: List[str] = []
    commands = {"a": ["/bin/sh", "-c", POLITE], "b": ["/bin/sh", "-c", "sleep 2; echo broken >&2; exit 3"]}
    with pytest.raises(OrchestratorError, match="`b` ended with exit code 3"):
        run_services(commands, {}, lines.append, lambda: False)
    assert sorted(lines) == ["a | bye", "a | up", "b | broken"]


def test_a_port_that_is_taken_is_no_orchestrator_that_is_ready() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(OrchestratorError, match=f"127.0.0.1:{port} is in use: .* pass another --port"):
            run({"a": ["/bin/sh", "-c", "echo started"]}, lambda _: False, address=("127.0.0.1", port))


def test_a_program_that_is_told_to_stop_has_not_failed() -> None:
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    with pytest.raises(Stopped):
        run_to_end(["/bin/sh", "-c", "sleep 1000"], {}, stop.is_set)
    with pytest.raises(OrchestratorError, match="exit code 4"):
        run_to_end(["/bin/sh", "-c", "exit 4"], {}, lambda: False)


#: An Airflow that is installed, and whose migration takes long.
PACKAGE = {
    "airflow/__init__.py": "",
    "airflow/__main__.py": "import pathlib, sys, time\nprint('migrating', flush=True)\n"
    "pathlib.Path(sys.argv[0]).with_name('migrating').touch()\ntime.sleep(1000)\n",
    "apache_airflow-3.0.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: apache-airflow\nVersion: 3.0.0\n",
}


def test_a_signal_while_airflow_is_prepared_is_no_error(jobs: Any, tmp_path: Path) -> None:
    for name, text in PACKAGE.items():
        (tmp_path / "packages" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "packages" / name).write_text(text)
    jobs.add("nightly", "true")
    command = [sys.executable, "-m", "workflow_runner", "start", "orchestrated", "--runner-config", str(jobs.path)]
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(tmp_path / "packages")}
    process = Process("the runner", [*command, "--port", str(free_port())], tmp_path / "log", tmp_path, env)
    migrating = tmp_path / "packages" / "airflow" / "migrating"
    poll(60, "the migration runs", lambda: (process.status(), migrating.exists()), lambda seen: any(seen))
    process.signal(signal.SIGTERM)
    assert process.wait(60) == 0, process.tail(20)
    assert '"event_type": "orchestrator_stopped"' in process.tail(20)


def test_airflows_folder_is_no_word_for_dagster(jobs: Any) -> None:
    jobs.kind = "dagster"
    jobs.add("nightly", "true")
    command = [sys.executable, "-m", "workflow_runner", "start", "orchestrated", "--dags-folder", "dags"]
    done = subprocess.run([*command, "--runner-config", str(jobs.path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 78
    assert "`orchestrator.type` is dagster, and --dags-folder is of Airflow: leave it out" in done.stderr


def test_a_runner_that_is_meant_for_single_jobs_starts_no_orchestrator(jobs: Any) -> None:
    jobs.add("nightly", "true")
    jobs.path.write_text(jobs.path.read_text().replace('{"runner": {', '{"runner": {"mode": "oneshot", '))
    command = [sys.executable, "-m", "workflow_runner", "start", "orchestrated", "--runner-config", str(jobs.path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 78
    assert "`runner.mode` is oneshot: its jobs are run one by one" in done.stderr
