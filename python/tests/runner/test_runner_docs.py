"""docs/runner.md and examples/runner: what they show works as it stands."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import List

import pytest
import workflow_runner.__main__ as command_line
from kit.spool import SpoolFolder
from workflow_runner import RunnerConfig

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "runner.md").read_text()


def blocks(language: str) -> List[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def commands() -> List[str]:
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    return [line for line in lines if line.startswith("python -m workflow_runner")]


@pytest.mark.parametrize("line", [line for line in commands() if " start " not in line])
def test_a_command_of_the_page_succeeds(line: str, spool: SpoolFolder) -> None:
    words = [sys.executable, *shlex.split(line)[1:]]
    environment = {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    if " run " in line:
        assert done.stdout == "attempt 1: reading what acme-orders.yaml says, for acme\n"
        (event,) = spool.events()
        assert (event["workflow_id"], event["metadata"]["environment"]) == ("acme-orders", "prod")


@pytest.mark.parametrize("program", [program for program in blocks("python") if "An Airflow DAG file" not in program])
def test_a_program_of_the_page_runs(program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=180, check=True
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "acme-orders acme stripe True 5.0",
        "acme-invoices acme hubspot False 5.0",
        "globex-events globex postgres True 5.0",
    ]


def test_the_runner_yaml_of_the_page_has_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "runner.yaml"
    path.write_text(next(block for block in blocks("yaml") if block.startswith("runner:")))
    names = [schedule.name for schedule in RunnerConfig.from_yaml(path).orchestrator.schedules]
    assert names == ["acme-orders", "globex-events"]


def test_the_page_names_every_event_type_of_the_log_and_every_exit_code() -> None:
    package = Path(command_line.__file__).parent
    code = "".join(path.read_text() for path in package.glob("*.py"))
    for name in set(re.findall(r'^\s*"((?:orchestrator|schedule|dag|job|retry)_[a-z]+)",$', code, re.MULTILINE)):
        assert f"`{name}`" in PAGE, name
    for name in set(re.findall(r'log\(\s*logging\.[A-Z]+, "([a-z_]+)"', code)):
        assert f"`{name}`" in PAGE, name
