"""The slots of a tenant on one host, between processes that know nothing of each other."""

import logging
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Tuple

import pytest
from workflow_runner import JobConfig, RunnerConfig, ScheduleConfig, create_task_function
from workflow_runner.config import job_of
from workflow_runner.errors import JobFailed
from workflow_runner.locks import slot

HOLDER = """
import sys, time
from workflow_runner import RunnerConfig
from workflow_runner.config import job_of
from workflow_runner.locks import slot
schedule = RunnerConfig.from_yaml(sys.argv[1]).orchestrator.schedules[0]
with slot(sys.argv[2], schedule, job_of(schedule), 1):
    print("held", flush=True)
    time.sleep(1000)
"""


def one(jobs: Any) -> Tuple[RunnerConfig, ScheduleConfig, JobConfig]:
    jobs.add("nightly", "echo ran >> ran")
    config = RunnerConfig.from_yaml(jobs.path)
    (schedule,) = config.orchestrator.schedules
    return config, schedule, job_of(schedule)


def test_a_slot_is_free_again_when_the_process_that_held_it_is_killed(jobs: Any, tmp_path: Path) -> None:
    _, schedule, job = one(jobs)
    command = [sys.executable, "-c", HOLDER, str(jobs.path), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        looks = iter(range(1000))

        def killed_after_two_looks() -> bool:
            if next(looks) == 2:
                assert holder.poll() is None
                holder.send_signal(signal.SIGKILL)
            return False

        with slot(str(tmp_path), schedule, job, 1, killed_after_two_looks) as free:
            assert free and next(looks) >= 3, "it has waited"


def test_as_many_run_at_once_as_there_are_slots_and_a_stop_ends_the_wait(jobs: Any, tmp_path: Path) -> None:
    _, schedule, job = one(jobs)
    with slot(str(tmp_path), schedule, job, 2) as first, slot(str(tmp_path), schedule, job, 2) as second:
        assert (first, second) == (True, True)
        looks = iter((False, True))
        with slot(str(tmp_path), schedule, job, 2, lambda: next(looks)) as third:
            assert third is False
    with slot(str(tmp_path), schedule, job, 1) as free:
        assert free


def test_where_no_lock_can_be_made_the_job_runs(jobs: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _, schedule, job = one(jobs)
    (tmp_path / "home").write_text("no folder")
    caplog.set_level(logging.INFO, "workflow_runner")
    with slot(str(tmp_path / "home"), schedule, job, 1) as free:
        assert free
    assert '"event_type": "lock_missing"' in caplog.text


def test_a_task_that_is_ended_while_it_waits_has_not_started_its_job(
    jobs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    config, schedule, job = one(jobs)
    task: Any = create_task_function(schedule, job, config, publish=False)
    with slot(str(tmp_path), schedule, job, 1):
        task.stop()
        with pytest.raises(JobFailed) as raised:
            task(run_id="r")
    assert raised.value.exit_code == 143
    assert not (tmp_path / "ran").exists()
    task(run_id="r")
    assert (tmp_path / "ran").exists(), "the stop was of that attempt"
