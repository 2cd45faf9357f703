"""`start orchestrated` with Airflow's own services, and the DAG file of docs/runner.md."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from kit.jobs import processes_with
from kit.poll import poll
from kit.process import ROOT, Process, free_port
from real_airflow import Airflow, Ended

PAGE = (ROOT / "docs" / "runner.md").read_text()
START = "python -m workflow_runner start orchestrated --runner-config examples/runner/runner.yaml"


def test_start_prepares_and_runs_the_services_until_sigterm(airflow_alone: Airflow) -> None:
    airflow = airflow_alone
    assert f"\n{START}\n" in PAGE
    port = free_port()
    words = START.replace("python", str(airflow.bin / "python"), 1).split()
    # Ports of its own: nothing else differs from the page.
    arguments = ["--port", str(port)]
    env = airflow.env(KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1", WORKFLOW_EVENTS_SPOOL_DIR=str(airflow.folder / "spool"))
    for name in ("AIRFLOW__API__PORT", "AIRFLOW__CORE__EXECUTION_API_SERVER_URL", "AIRFLOW__API__BASE_URL"):
        env.pop(name, None)
    process = Process("the runner", [*words, *arguments], airflow.folder / "start.log", ROOT, env)
    try:
        process.wait_line('"event_type": "orchestrator_ready"', 600)
        assert (airflow.dags / "workflow_runner_dags.py").is_file()
        # `globex-events` runs every 45 s.
        spool = airflow.folder / "spool"
        poll(
            600,
            "a run has published",
            lambda: (process.status(), len(list(spool.glob("*.event")))),
            lambda seen: seen[0] is not None or seen[1],
            every=0.5,
        )
        assert process.status() is None, process.tail(100)
    finally:
        process.signal(signal.SIGTERM)
        status = process.wait(180)
    assert status == 0, process.tail(60)
    poll(60, "no process is left", lambda: processes_with("AIRFLOW_HOME", airflow.home), lambda left: not left)
    (event, *_) = [path.read_text().splitlines()[1] for path in sorted(spool.glob("*.event"))]
    assert json.loads(event)["workflow_id"] == "globex-events"
    assert not [line for line in process.lines() if re.search(r"[Pp]assword for user", line)]


def test_the_dag_file_of_the_page_works(airflow: Airflow, tmp_path: Path) -> None:
    block: Any = next(block for block in re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S) if "DAG file" in block)
    program = block.replace("examples/runner", str(ROOT / "examples" / "runner"))
    ended: Ended = airflow.python("-c", program + '\nprint("FOUND", sorted(n for n in globals() if "-" in n))')
    assert "FOUND ['acme-invoices', 'acme-orders', 'globex-events']" in ended.text


def test_without_airflow_it_is_69_and_says_how_to_install_it() -> None:
    command = [sys.executable, *START.split()[1:]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180)
    assert done.returncode == 69
    assert "pip install 'workflow-events[airflow]'" in done.stderr
