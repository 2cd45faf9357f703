"""Runs the programs of an orchestrator: one to its end, or several until one ends or a signal comes.

Its invariant: when a function here returns or raises, no process of its programs is left that stayed in its group.
"""

from __future__ import annotations

import logging
import re
import signal
import socket
import threading
import time
from collections import deque
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional

from workflow_events import _native

from .errors import OrchestratorError, Stopped
from .job import GRACE, LOOK
from .log import log

#: Airflow 3 writes a password that it has made up: whoever reads this log is not to have it.
PASSWORD = re.compile(r"password for user", re.IGNORECASE)

Stopping = Callable[[], bool]


@contextmanager
def until_signal() -> Iterator[Stopping]:
    """Whether SIGTERM or SIGINT has come. Outside of the main thread, where there are no handlers, it never has."""
    stop = threading.Event()
    before: Dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in (int(signal.SIGTERM), int(signal.SIGINT)):
            before[number] = signal.signal(number, lambda *_: stop.set())
    try:
        yield stop.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_to_end(command: List[str], variables: Mapping[str, str], stopping: Stopping) -> List[str]:
    """Runs a program: the lines of its standard output.

    Raises OrchestratorError when it fails, and Stopped when it was told to stop.
    """
    shown = " ".join(command[2:5] if command[1:2] == ["-m"] else command[:3])
    process = _start(shown, command, variables)
    output: List[str] = []
    last: deque[str] = deque(maxlen=15)
    try:
        while True:
            lines, ended = process.wait(LOOK)
            output += [line for is_error, line in lines if not is_error]
            last.extend(line for _, line in lines)
            if ended is not None:
                break
            if stopping():
                process.terminate()
    finally:
        process.close(GRACE)
    code, _ = ended
    if code != 0 and stopping():
        raise Stopped(shown)
    if code != 0:
        raise OrchestratorError(f"`{shown}` ended with exit code {code}:\n" + "\n".join(last))
    return output


def run_services(
    commands: Mapping[str, List[str]],
    variables: Mapping[str, str],
    write: Callable[[str], None],
    stopping: Stopping,
    address: Optional[tuple[str, int]] = None,
) -> None:
    """Runs these programs until a signal comes, and ends all of them. Raises OrchestratorError when one ends by itself.

    write: takes their lines, which begin with the program's name.
    address: where one of them will listen, for the line that says that they are ready.
    """
    if address is not None and _listens(address):
        # What answers there would be taken for ours.
        raise OrchestratorError("{}:{} is in use: end what listens there, or pass another --port".format(*address))
    running: Dict[str, _native.JobProcess] = {}
    try:
        for name, command in commands.items():
            running[name] = _start(name, command, variables)
        is_ready = address is None
        while not stopping():
            for name, process in running.items():
                if (ended := _pass_on(name, process, LOOK / len(running), write)) is not None:
                    raise OrchestratorError(
                        f"`{name}` ended with exit code {ended[0]}, so everything else is ended too"
                    )
            if not is_ready and address is not None and _listens(address):
                is_ready = True
                log(logging.INFO, "orchestrator_ready", "the orchestrator is ready", address="{}:{}".format(*address))
    finally:
        _end(running, write)


def _pass_on(
    name: str, process: _native.JobProcess, seconds: float, write: Callable[[str], None]
) -> Optional[tuple[int, bool]]:
    """Waits for lines of a program, and passes them on. How it has ended, if it has."""
    lines, ended = process.wait(seconds)
    for _, line in lines:
        write(f"{name} | {line}" if not PASSWORD.search(line) else f"{name} | (a password is not shown)")
    return ended


def _end(running: Dict[str, _native.JobProcess], write: Callable[[str], None]) -> None:
    """Ends all of them at once, and passes on what they say meanwhile."""
    until = time.monotonic() + GRACE
    try:
        for process in running.values():
            process.terminate()
        left = dict(running)
        while left and time.monotonic() < until:
            seconds = LOOK / len(left)
            left = {name: process for name, process in left.items() if _pass_on(name, process, seconds, write) is None}
    finally:
        for process in running.values():
            process.close(max(until - time.monotonic(), 0.0))


def _start(name: str, command: List[str], variables: Mapping[str, str]) -> _native.JobProcess:
    try:
        return _native.JobProcess(command, list(variables.items()))
    except _native.JobNotStarted as error:
        raise OrchestratorError(f"`{name}` cannot be started: {error.args[1]}") from None


def _listens(address: tuple[str, int]) -> bool:
    host, port = address
    try:
        with socket.create_connection(({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port), timeout=0.2):
            return True
    except OSError:
        return False
