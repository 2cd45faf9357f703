"""The line about a lost event is written, however the log is configured."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Dict, List

import pytest

PROGRAM = """
import json, logging, logging.config, logging.handlers, os, sys
from workflow_events import WorkflowEventProducer

event = {{"event_id": "lost-1", "event_type": "WORKFLOW_FAILED", "source": "AIRFLOW", "workflow_id": "d",
         "workflow_run_id": "r", "payload": {{"data": {{"of": "value"}}}}}}
producer = WorkflowEventProducer("127.0.0.1:1", connect_timeout=None, spool_dir=False)
log, helpers = logging.getLogger("workflow_events"), logging.getLogger("airflow_integration")


class Raises(logging.Handler):
    def emit(self, record):
        raise OSError("no")


class Full(logging.StreamHandler):
    # As a FileHandler does on a full disk.
    def emit(self, record):
        self.handleError(record)


to_file = logging.FileHandler(sys.argv[1], delay=True)
{how}
{publish}
"""
PUBLISH = "producer.publish_event(event, timeout=0.2)"
HELPER = """
from airflow_integration import publish_workflow_event
class Broken:
    def publish_event_outcome(self, *args, **kwargs):
        raise ValueError("broken")
publish_workflow_event("WORKFLOW_FAILED", "d", "r", {"of": "value"}, producer=Broken())
"""

# What configures the log, and whether the line is in the file then; else it has to be on the standard error.
FILE_CONFIG = """
path = sys.argv[1] + ".ini"
open(path, "w").write('''[loggers]
keys=root
[handlers]
keys=console
[formatters]
keys=
[logger_root]
handlers=console
level=WARNING
[handler_console]
class=StreamHandler
args=(open(os.devnull, "w"),)
''')
logging.config.fileConfig(path)
"""
CONFIGURATIONS: Dict[str, str] = {
    "nothing": "",
    "dictConfig": "logging.config.dictConfig({'version': 1, 'root': {'handlers': []}})",
    "fileConfig": FILE_CONFIG,
    "disable": "logging.basicConfig(); logging.disable(logging.CRITICAL)",
    "disabled": "logging.basicConfig(); log.disabled = helpers.disabled = True",
    "a level above": "logging.basicConfig(); log.setLevel(99); helpers.setLevel(99)",
    "a handler's level": "h = logging.StreamHandler(open(os.devnull, 'w')); h.setLevel(99); logging.root.addHandler(h)",
    "a null handler": "logging.root.addHandler(logging.NullHandler())",
    "a filter": "logging.basicConfig(stream=open(os.devnull, 'w')); log.addFilter(lambda r: False); "
    "helpers.addFilter(lambda r: False)",
    "no propagation": "logging.basicConfig(); log.propagate = helpers.propagate = False; "
    "log.addHandler(logging.NullHandler()); helpers.addHandler(logging.NullHandler())",
    "a handler that raises": "logging.root.addHandler(Raises())",
    "a full disk": "logging.raiseExceptions = False; logging.root.addHandler(Full())",
}
IN_THE_FILE: Dict[str, str] = {
    "a file": "logging.root.addHandler(to_file)",
    "a handler that raises before it": "logging.root.addHandler(Raises()); logging.root.addHandler(to_file)",
    "a queue": "import queue; q = queue.Queue(); logging.root.addHandler(logging.handlers.QueueHandler(q)); "
    "import atexit; atexit.register(lambda: to_file.handle(q.get(timeout=5)))",
}


def run(tmp_path: Path, how: str, publish: str) -> "subprocess.CompletedProcess[str]":
    program = PROGRAM.format(how=how, publish=publish)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("KAFKA_", "AIRFLOW_"))}
    command = [sys.executable, "-c", program, str(tmp_path / "log")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=180, env=environment)
    assert ran.returncode == 0, ran.stderr
    return ran


def lost(text: str) -> List[str]:
    return [line for line in text.splitlines() if "EVENT LOST" in line and '"of"' in line]


def value_of(line: str) -> object:
    return json.loads(line[line.index('{"event') :])["payload"]["data"]["of"]


@pytest.mark.parametrize("publish", [PUBLISH, HELPER], ids=["producer", "helper"])
@pytest.mark.parametrize("how", list(CONFIGURATIONS))
def test_a_lost_event_is_on_the_standard_error_when_no_handler_writes_it(
    tmp_path: Path, how: str, publish: str
) -> None:
    (line,) = lost(run(tmp_path, CONFIGURATIONS[how], publish).stderr)
    assert value_of(line) == "value"


@pytest.mark.parametrize("publish", [PUBLISH, HELPER], ids=["producer", "helper"])
@pytest.mark.parametrize("how", list(IN_THE_FILE))
def test_a_lost_event_is_in_the_log_alone_when_a_handler_writes_it(tmp_path: Path, how: str, publish: str) -> None:
    ran = run(tmp_path, IN_THE_FILE[how], publish)
    (line,) = lost((tmp_path / "log").read_text())
    assert value_of(line) == "value"
    assert lost(ran.stderr) == []
