"""The snippets of docs/airflow.md: each DAG runs as it stands, each rule passes ``workflow-bridge check``, and the
words that name something of the code name something that is there."""

import asyncio
import inspect
import re
import subprocess
from pathlib import Path
from typing import Any, Dict, List

import airflow_integration
import pytest
from kit.process import ROOT
from kit.reader import Kafka
from kit.spool import SpoolFolder
from real_airflow import Airflow

PAGE = (ROOT / "docs" / "airflow.md").read_text()


def blocks(language: str) -> List[str]:
    """The code blocks of the page in this language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def dag_id(block: str) -> str:
    """The DAG that a block defines."""
    found = re.search(r'dag_id="(\w+)"', block)
    assert found, block
    return found.group(1)


DAGS = {dag_id(block): block for block in blocks("python") if "dag_id=" in block}
CALLBACKS = [block for block in blocks("python") if "dag_id=" not in block]


@pytest.mark.parametrize("name", DAGS)
def test_a_dag_of_the_page_runs_unchanged(
    name: str, airflow2: Airflow, kafka: Kafka, topic: str, spool: SpoolFolder
) -> None:
    (airflow2.dags / f"{name}.py").write_text(DAGS[name])
    env = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap,
        "KAFKA_TOPIC": topic,
        "WORKFLOW_EVENTS_SPOOL_DIR": str(spool.path),
    }
    ended = airflow2.dags_test(name, **env)
    events = kafka.events(topic)
    scopes = {
        "my_first_events": [("task", "process")],
        "my_callbacks": [("task", "load"), ("task", "report"), ("dag", None)],
    }
    published = [(event["metadata"]["scope"], event["metadata"].get("task_id")) for event in events]
    assert published == scopes[name], ended.text[-4000:]
    assert f"published WORKFLOW_COMPLETED {events[0]['event_id']} of {name}/" in ended.text


def test_the_callbacks_of_the_page_publish_a_missed_deadline(
    kafka: Kafka, topic: str, monkeypatch: pytest.MonkeyPatch, patient: None
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap)
    monkeypatch.setenv("KAFKA_TOPIC", topic)
    (block,) = CALLBACKS
    names: Dict[str, Any] = {}
    exec(compile(block, "docs/airflow.md", "exec"), names)
    context = {"dag_run": {"dag_id": "etl", "dag_run_id": "run-1"}, "deadline": {"id": "d-1"}}
    names["overdue"](context)
    asyncio.run(names["overdue_in_the_triggerer"](context))
    first, again = kafka.event_ids(topic)
    assert first == again


def test_the_rule_of_the_page_is_a_rule(tmp_path: Path) -> None:
    (when,) = blocks("yaml")
    indented = "".join(f"    {line}\n" for line in when.splitlines())
    (tmp_path / "rules.yaml").write_text(
        "agents:\n  a: {http: {url: 'http://127.0.0.1:1/'}}\nrules:\n  - name: r\n    to: [a]\n" + indented
    )
    program = ROOT / "target" / "debug" / "workflow-bridge"
    ended = subprocess.run([str(program), "check", "--routing", str(tmp_path)], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_table_of_helpers_is_that_of_the_code() -> None:
    rows: Dict[str, str] = dict(re.findall(r"^\| `(\w+)\(([^)]*)\)` \|", PAGE, re.MULTILINE))
    of_the_runner = airflow_integration._OF_THE_RUNNER
    own = [name for name in airflow_integration.__all__ if name not in of_the_runner]
    assert set(rows) == {name for name in own if name.startswith(("publish_", "get_"))}
    for name, documented in rows.items():
        wanted = [part.strip().rstrip("=") for part in documented.split(",") if not part.strip().startswith("**")]
        known = inspect.signature(getattr(airflow_integration, name)).parameters
        assert set(wanted) <= set(known), name
    for name in own:
        assert name in PAGE
    page = (ROOT / "docs" / "runner.md").read_text()
    for name in of_the_runner:
        assert name in page


def test_the_deadlines_of_the_page_are_those_of_the_code() -> None:
    from airflow_integration import sending

    assert f"| a task, its callbacks, its listener hooks | {sending.IN_A_TASK:.0f} s |" in PAGE
    assert f"| {sending.IN_A_DAG_CALLBACK:.0f} s |" in PAGE
    assert f"| the scheduler, and an API server | {sending.SPOOL_ONLY:.0f}: straight into the spool |" in PAGE
