"""The Python names of runner.yaml and of the retry policy. src/runner/tests.rs has the rules of the files."""

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict

import pytest
import workflow_runner
from workflow_runner import (
    JobConfig,
    JobFailed,
    RetryConfig,
    RetryPolicy,
    RunnerConfig,
    RunnerConfigError,
    get_dags_from_config,
)


def test_the_files_become_objects(jobs: Any) -> None:
    retry = {"max_retries": 2, "retryable_exit_codes": [3]}
    jobs.add(
        "nightly",
        "true",
        {"retry_config": retry, "environment": "prod"},
        cron="@daily",
        timezone="Europe/Berlin",
        tags={"team": "data", "priority": 1},
        timeout_seconds=60,
    )
    jobs.add("often", "true", interval_seconds=45, enabled=False)
    config = RunnerConfig.from_yaml(jobs.path)
    assert (config.mode, config.orchestrator.type, config.orchestrator.concurrency_per_tenant) == (
        "orchestrated",
        "airflow",
        1,
    )
    assert config.path == str(jobs.path)
    nightly, often = config.orchestrator.schedules
    assert (nightly.name, nightly.cron, nightly.cron_fields, nightly.interval_seconds) == (
        "nightly",
        "@daily",
        "0 0 * * *",
        None,
    )
    assert (nightly.timezone, nightly.tags, nightly.timeout_seconds) == (
        "Europe/Berlin",
        {"team": "data", "priority": "1"},
        60,
    )
    assert (often.cron, often.interval_seconds, often.enabled) == (None, 45, False)
    assert config.schedule("often") == often and config.schedule("no") is None
    job = JobConfig.from_yaml(nightly.config)
    assert (job.tenant_id, job.connector, job.environment) == ("acme", "stripe", "prod")
    assert job.retry_config == RetryConfig(max_retries=2, retryable_exit_codes=[3])
    assert JobConfig.from_yaml(often.config).retry_config is None


def test_the_guides_own_line_of_code_works(jobs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    jobs.add("my_job", "true", cron="0 * * * *")
    config = RunnerConfig.from_yaml(str(jobs.path))
    print(f"Loaded {len(config.orchestrator.schedules)} schedules")
    assert capsys.readouterr().out == "Loaded 1 schedules\n"


GUIDE = """\
runner:
  mode: orchestrated
  orchestrator:
    type: airflow  # Use Airflow instead of Dagster
    schedules:
      - name: my_job
        config: /app/jobs/tenant/job.yaml
        cron: "0 * * * *"
"""


def test_the_guides_own_runner_yaml_has_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "runner_airflow.yaml"
    path.write_text(GUIDE)
    config = RunnerConfig.from_yaml(path)
    (schedule,) = config.orchestrator.schedules
    assert (config.orchestrator.type, schedule.name, schedule.config) == (
        "airflow",
        "my_job",
        "/app/jobs/tenant/job.yaml",
    )
    assert config.command[1:4] == ["-m", "dativo_ingest.cli", "run"]


def test_a_wrong_file_is_a_value_error_with_every_mistake(tmp_path: Path) -> None:
    path = tmp_path / "runner.yaml"
    path.write_text(
        "runner:\n  orchestrator:\n    type: aiflow\n"
        "    schedules:\n      - {name: a, config: a.yaml, cron: '61 * * * *'}\n"
    )
    with pytest.raises(ValueError) as raised:
        RunnerConfig.from_yaml(path)
    assert isinstance(raised.value, RunnerConfigError)
    assert raised.value.problems == [
        f'{path}:3:11: `runner.orchestrator.type`: expected `dagster` or `airflow`, found the string "aiflow": did you '
        "mean `airflow`?",
        f'{path}:5:41: schedule a: `cron`: minute: expected 0 to 59, found "61"',
    ]
    with pytest.raises(RunnerConfigError, match="expected `dagster` or `airflow`"):
        get_dags_from_config(path)  # In a DAG file: Airflow shows it as an import error.
    with pytest.raises(RunnerConfigError, match="no.yaml: the file cannot be read: No such file or directory"):
        JobConfig.from_yaml(tmp_path / "no.yaml")


def test_the_policy_decides_as_the_configuration_says() -> None:
    policy = RetryPolicy(RetryConfig(max_retries=2, retryable_exit_codes=[7], retryable_error_patterns=["timed? out"]))
    assert policy.should_retry(7)
    assert policy.should_retry(1, "Connection TIMED OUT", attempt=1)
    assert not policy.should_retry(1, "disk full")
    assert not policy.should_retry(7, attempt=2)
    assert [policy.calculate_delay(attempt) for attempt in range(8)] == [5, 10, 20, 40, 80, 160, 300, 300]
    assert not RetryPolicy(None).should_retry(1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"retryable_error_patterns": ["("]}, r"retry_config: retryable_error_patterns\[0\]: expected a regular"),
        ({"max_retries": -1}, "retry_config: "),
        ({"max_retries": "3"}, "retry_config: "),
        ({"retryable_exit_codes": [256]}, "retry_config: "),
    ],
)
def test_a_wrong_policy_is_a_configuration_error(wrong: Dict[str, Any], message: str) -> None:
    with pytest.raises(RunnerConfigError, match=message):
        RetryPolicy(RetryConfig(**wrong))


def test_an_error_is_the_same_in_another_process() -> None:
    wrong = pickle.loads(pickle.dumps(RunnerConfigError(["a.yaml:1:1: one", "a.yaml:2:1: two"])))
    assert (wrong.problems, str(wrong)) == (["a.yaml:1:1: one", "a.yaml:2:1: two"], "a.yaml:1:1: one\na.yaml:2:1: two")
    failed = pickle.loads(pickle.dumps(JobFailed("it failed", 42)))
    assert (failed.exit_code, str(failed)) == (42, "it failed")


def test_the_package_imports_no_orchestrator_and_has_every_public_name() -> None:
    for name in workflow_runner.__all__:
        assert getattr(workflow_runner, name) is not None
        assert name in dir(workflow_runner)
    with pytest.raises(AttributeError, match="module 'workflow_runner' has no attribute 'nothing'"):
        workflow_runner.nothing  # type: ignore[attr-defined]  # noqa: B018
    program = (
        "import sys, workflow_runner.__main__; print(sorted({'airflow', 'dagster', 'pydantic'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert ran.stdout == "[]\n"
