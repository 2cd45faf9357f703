"""A failing spool is logged, and fails no caller."""

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest
from kit.events import an_event
from kit.programs import run
from kit.spool import SpoolFolder
from workflow_events import WorkflowEventProducer

NOWHERE = "127.0.0.1:1"

Make = Callable[..., WorkflowEventProducer]


def critical(caplog: pytest.LogCaptureFixture, event: Dict[str, Any]) -> None:
    """One CRITICAL line, with the event whole."""
    lines = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert len(lines) == 1, caplog.text
    text = lines[0].getMessage()
    assert event["event_id"] in text
    assert '"workflow_run_id"' in text and event["timestamp"] in text, text


def test_an_unwritable_folder_is_logged_with_the_event_and_fails_no_caller(
    tmp_path: Path, producers: Make, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a file").write_text("")
    event = an_event()
    producer = producers(NOWHERE, spool_dir=str(tmp_path / "a file" / "spool"))
    outcome = producer.publish_event_outcome(event, timeout=0.2)
    assert outcome.status == "lost"
    caplog.clear()
    assert producer.publish_event(event, timeout=0.2) is False
    critical(caplog, event)
    assert "a file" in caplog.text


def test_a_folder_that_even_root_cannot_write_is_logged_with_the_event(
    producers: Make, caplog: pytest.LogCaptureFixture
) -> None:
    event = an_event()
    assert producers(NOWHERE, spool_dir="/proc/1/spool").publish_event(event, timeout=0.2) is False
    critical(caplog, event)


def test_without_a_spool_a_failed_event_is_logged_whole(
    spool: SpoolFolder, producers: Make, caplog: pytest.LogCaptureFixture
) -> None:
    event = an_event()
    assert producers(NOWHERE, spool_dir=False).publish_event(event, timeout=0.2) is False
    critical(caplog, event)
    assert spool.everything() == []


def test_a_full_spool_takes_no_more_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spool: SpoolFolder, producers: Make, caplog: Any
) -> None:
    monkeypatch.setenv("WORKFLOW_EVENTS_SPOOL_MAX_BYTES", "4096")
    producer = producers(NOWHERE)
    events = [an_event() for _ in range(30)]
    statuses = [producer.publish_event_outcome(event, timeout=0).status for event in events]
    kept = statuses.count("spooled")
    assert 1 <= kept < 30
    assert statuses == ["spooled"] * kept + ["lost"] * (30 - kept)
    assert sum(path.stat().st_size for path in spool.files()) <= 4096
    caplog.clear()
    refused = an_event()
    assert producer.publish_event(refused, timeout=0) is False
    critical(caplog, refused)
    assert "4096" in caplog.text


def loud(printed: str) -> str:
    """The program returned False and said in one CRITICAL line which event is lost, with the event: that line."""
    lines = printed.splitlines()
    assert "returned False" in lines, printed
    (lost,) = [line for line in lines if line.startswith("CRITICAL workflow_events")]
    (event_id,) = [line.split(" ")[1] for line in lines if line.startswith("event ")]
    assert event_id in lost and '"workflow_run_id"' in lost, lost
    return lost


def test_a_disk_that_takes_no_more_is_logged_with_the_event(spool: SpoolFolder, tmp_path: Path) -> None:
    environment = {"KAFKA_BOOTSTRAP_SERVERS": NOWHERE}
    ended = run("spool", "file_size_limit", str(tmp_path / "journal"), within=120, environment=environment)
    loud(ended.printed)
    assert spool.everything() == [], "no partial file stays"


def mounts() -> List[str]:
    """How a small file system of one's own can be mounted here, if it can."""
    for options in (["--mount"], ["--user", "--map-root-user", "--mount"]):
        probe = ["unshare", *options, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
        try:
            if subprocess.run(probe, capture_output=True, timeout=120).returncode == 0:
                return options
        except (OSError, subprocess.SubprocessError):
            break
    return []


MOUNT = mounts()


def a_full_file_system_is_logged_with_the_event(tmp_path: Path) -> None:
    folder = tmp_path / "full"
    folder.mkdir()
    inner = 'mount -t tmpfs -o size=64k tmpfs "$1"; shift; "$@"; status=$?; find "$0" -type f; exit $status'
    program = [sys.executable, str(Path(__file__).parent / "programs" / "spool.py"), "one", str(tmp_path / "journal")]
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parent),
        "KAFKA_BOOTSTRAP_SERVERS": NOWHERE,
        "WORKFLOW_EVENTS_SPOOL_DIR": str(folder / "spool"),
    }
    command = ["unshare", *MOUNT, "sh", "-c", inner, str(folder), str(folder), *program]
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=180
    )
    assert done.returncode == 0, done.stdout
    printed = done.stdout.replace("x" * 100_000, "x..x")
    assert "os error 28" in loud(printed)
    assert [line for line in printed.splitlines() if line.startswith(str(folder))] == [], "no partial file stays"


if MOUNT:  # Where nothing may be mounted, the limit on the size of a file stands for the full disk.
    test_a_full_file_system_is_logged_with_the_event = a_full_file_system_is_logged_with_the_event
