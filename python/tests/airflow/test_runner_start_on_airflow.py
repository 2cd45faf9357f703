"""`start orchestrated` with Airflow's own services, and the DAG file of docs/runner.md."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

from kit.jobs import lives, processes_with, write_runner
from kit.poll import poll
from kit.process import ROOT, Process, free_port
from real_airflow import Airflow, Ended

PAGE = (ROOT / "docs" / "runner.md").read_text()
START = "python -m workflow_runner start orchestrated --runner-config examples/runner/runner.yaml"


def starting(airflow: Airflow, *words: str) -> Process:
    """``start`` on a port of its own, with nothing of the tests' settings that says where Airflow listens."""
    env = airflow.env(KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1", WORKFLOW_EVENTS_SPOOL_DIR=str(airflow.folder / "spool"))
    for name in ("AIRFLOW__API__PORT", "AIRFLOW__CORE__EXECUTION_API_SERVER_URL", "AIRFLOW__API__BASE_URL"):
        env.pop(name, None)
    command = [str(airflow.bin / "python"), *words, "--port", str(free_port())]
    return Process("the runner", command, airflow.folder / "start.log", ROOT, env)


def wait_until(process: Process, what: str, look: Callable[[], Any]) -> None:
    poll(600, what, lambda: (process.status(), look()), lambda seen: seen[0] is not None or seen[1], every=0.5)
    assert process.status() is None, process.tail(100)


def ended(airflow: Airflow, process: Process) -> int:
    """SIGTERM: its status, when nothing of it is left."""
    process.signal(signal.SIGTERM)
    status = process.wait(180)
    poll(60, "no process is left", lambda: processes_with("AIRFLOW_HOME", airflow.home), lambda left: not left)
    return status


def test_start_prepares_and_runs_the_services_until_sigterm(airflow_alone: Airflow) -> None:
    airflow, spool = airflow_alone, airflow_alone.folder / "spool"
    assert f"\n{START}\n" in PAGE
    process = starting(airflow, *START.split()[1:])
    try:
        process.wait_line('"event_type": "orchestrator_ready"', 600)
        assert (airflow.dags / "workflow_runner_dags.py").is_file()
        # `globex-events` runs every 45 s.
        wait_until(process, "a run has published", lambda: list(spool.glob("*.event")))
    finally:
        status = ended(airflow, process)
    assert status == 0, process.tail(60)
    (event, *_) = [path.read_text().splitlines()[1] for path in sorted(spool.glob("*.event"))]
    assert json.loads(event)["workflow_id"] == "globex-events"
    assert not [line for line in process.lines() if re.search(r"[Pp]assword for user", line)]


def test_sigterm_ends_the_job_that_runs_too(airflow_alone: Airflow) -> None:
    airflow = airflow_alone
    script = "trap 'echo ended > ended; exit 1' TERM; sleep 1000 & echo $$ $! > new; mv new pids; wait"
    config = write_runner(airflow.folder / "jobs", "airflow", {"long": ("acme", script, {"interval_seconds": 5})})
    process = starting(airflow, "-m", "workflow_runner", "start", "orchestrated", "--runner-config", str(config))
    pids = config.parent / "pids"
    try:
        wait_until(process, "the job runs", pids.exists)
    finally:
        status = ended(airflow, process)
    assert status == 0, process.tail(60)
    assert [pid for pid in pids.read_text().split() if lives(int(pid))] == []
    assert (config.parent / "ended").exists(), "it had the time to end in order"


def test_the_dag_file_of_the_page_works(airflow: Airflow, tmp_path: Path) -> None:
    block: Any = next(block for block in re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S) if "DAG file" in block)
    program = block.replace("examples/runner", str(ROOT / "examples" / "runner"))
    ran: Ended = airflow.python("-c", program + '\nprint("FOUND", sorted(n for n in globals() if "-" in n))')
    assert "FOUND ['acme-invoices', 'acme-orders', 'globex-events']" in ran.text


def test_without_airflow_it_is_69_and_says_how_to_install_it() -> None:
    command = [sys.executable, *START.split()[1:]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180)
    assert done.returncode == 69
    assert "pip install 'workflow-events[airflow]'" in done.stderr
