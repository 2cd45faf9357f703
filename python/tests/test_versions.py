"""One wheel for every Python: imported and used, unchanged, under each that is installed."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Dict, Iterator

import pytest

MINORS = range(9, 14)
WHEELS = Path(__file__).parents[2] / "target" / "it" / "wheel"

PROGRAM = """
import json, logging, os, sys
sys.path.insert(0, sys.argv[1])
import workflow_events
from workflow_events import aio, producer, settings, KafkaTimeoutError, WorkflowEventProducer, EventType
logging.basicConfig(stream=sys.stderr)
event = {"event_type": EventType.WORKFLOW_COMPLETED, "source": "AIRFLOW", "workflow_id": "d", "workflow_run_id": "r",
         "payload": {"data": {"version": list(sys.version_info)}}}
with WorkflowEventProducer("127.0.0.1:1", connect_timeout=None, spool_dir=sys.argv[2]) as used:
    outcome = used.publish_event_outcome(event, timeout=0)
    assert (outcome.status, outcome.published) == ("spooled", False), outcome
    # A client has a second to be made: until it is, an event goes straight into the spool.
    while not used.enqueue_event(event):
        pass
    try:
        used.flush(timeout=0.1)
    except KafkaTimeoutError as error:
        assert "1 event is not acknowledged" in str(error), error
    else:
        raise AssertionError("nobody acknowledges it")
print(json.dumps([str(EventType.WORKFLOW_COMPLETED), f"{EventType.WORKFLOW_COMPLETED}", outcome.path]))
"""


def candidates(minor: int) -> Iterator[str]:
    """What may be that Python: on the PATH, or among pyenv's, whose name on the PATH starts only the chosen ones."""
    name = f"python3.{minor}"
    on_path = shutil.which(name)
    if on_path is not None:
        yield on_path
    for folder in (os.environ.get("PYENV_ROOT", ""), os.path.expanduser("~/.pyenv")):
        yield from (str(path) for path in sorted(Path(folder).glob(f"versions/3.{minor}.*/bin/{name}")))


def pythons() -> Dict[str, str]:
    """The interpreters by their version, this one included. One is an interpreter only if it starts."""
    found = {}
    show = "import sys; print(sys.version_info[:2], sys.implementation.name)"
    for minor in MINORS:
        for path in candidates(minor):
            ran = subprocess.run([path, "-c", show], capture_output=True, text=True, timeout=120)
            if ran.stdout.strip() == f"(3, {minor}) cpython":
                found[f"3.{minor}"] = path
                break
    return {**found, "{}.{}".format(*sys.version_info): sys.executable}


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    wheels = list(WHEELS.glob("*.whl"))
    assert len(wheels) == 1, f"one wheel in {WHEELS} was expected: {wheels}: run `make python-venv`"
    assert "-cp39-abi3-" in wheels[0].name
    folder = tmp_path_factory.mktemp("wheel")
    with zipfile.ZipFile(wheels[0]) as wheel:
        wheel.extractall(folder)
    return folder


def test_the_one_wheel_works_under_every_python_that_is_here(unpacked: Path, tmp_path: Path) -> None:
    found = pythons()
    print("found Python", ", ".join(found))
    this = "{}.{}".format(*sys.version_info)
    assert len(found) > 1, f"no other Python than {this} from 3.9 to 3.13 is here: one wheel for all is not shown"
    for version, python in found.items():
        spool = tmp_path / version
        command = [python, "-I", "-W", "error", "-c", PROGRAM, str(unpacked), str(spool)]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert ran.returncode == 0, f"Python {version}: {ran.stderr}"
        plain, formatted, path = json.loads(ran.stdout)
        assert (plain, formatted) == ("WORKFLOW_COMPLETED", "WORKFLOW_COMPLETED")
        assert len(list(spool.glob("*.event"))) >= 2, f"Python {version}: {ran.stderr}"
        assert json.loads(Path(path).read_text().splitlines()[1])["payload"]["data"]["version"][:2] == [
            int(part) for part in version.split(".")
        ]


def test_the_wheel_has_its_metadata(unpacked: Path) -> None:
    (metadata,) = unpacked.glob("workflow_events-*.dist-info")
    text = (metadata / "METADATA").read_text()
    for line in ("Requires-Python: >=3.9", "Requires-Dist: pydantic>=2", "License-Expression: Apache-2.0"):
        assert line in text.splitlines()
    assert (metadata / "licenses" / "LICENSE").exists()
    plugins = (metadata / "entry_points.txt").read_text()
    assert "[airflow.plugins]" in plugins
    assert "airflow_integration.plugin:WorkflowEventsPlugin" in plugins
