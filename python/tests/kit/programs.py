"""Programs of a test, each in an interpreter of its own: run under a deadline, with the stacks of one that hangs.

A journal is how a program says what it was promised, even when it is killed or leaves by ``os._exit`` the moment after:
one line for each event, written by one call.
"""

import contextlib
import faulthandler
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence

PROGRAMS = Path(__file__).resolve().parents[1] / "programs"
PATIENT = PROGRAMS / "patient.py"


class Journal:
    """Lines of ``status event_id``, appended by any number of processes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, status: str, event_id: str) -> None:
        """Is in the file when it returns; needs no interpreter shutdown."""
        file = os.open(str(self.path), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(file, "{} {}\n".format(status, event_id).encode())
        finally:
            os.close(file)

    def ids(self, *statuses: str) -> List[str]:
        """The ids of these statuses; of all without one. A line that is being written is not there yet."""
        if not self.path.exists():
            return []
        whole, _, _ = self.path.read_text().rpartition("\n")
        lines = [line.split(" ", 1) for line in whole.split("\n") if line]
        return [event_id for status, event_id in lines if not statuses or status in statuses]


class Ended(NamedTuple):
    """How a program ended."""

    status: int
    seconds: float
    printed: str


class Running(subprocess.Popen):  # type: ignore[type-arg]
    """A program that was started. What it prints is read all the time: a pipe that nobody reads would stop it."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        super().__init__(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        self._printed: List[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.stdout is not None
        self._printed.extend(self.stdout)

    def printed(self) -> List[str]:
        """The lines that it has printed so far."""
        return list(self._printed)

    def wait_all(self, within: float) -> bool:
        """Whether it ends in time, and so does everything that it started, which has its pipe."""
        until = time.monotonic() + within
        self._reader.join(within)
        while self.poll() is None:
            if time.monotonic() > until:
                return False
            time.sleep(0.01)
        return not self._reader.is_alive()

    def end(self) -> str:
        """Kills its process group, waits for its end, and gives what it printed."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.wait()
        self._reader.join(60)
        assert self.stdout is not None
        self.stdout.close()
        return "".join(self._printed)


def start(program: str, *arguments: str, environment: Optional[Mapping[str, str]] = None) -> Running:
    """Starts ``programs/NAME.py``."""
    variables: Dict[str, str] = {**os.environ, **(environment or {})}
    variables["PYTHONPATH"] = str(PROGRAMS.parent)
    variables["PYTHONUNBUFFERED"] = "1"
    command = [sys.executable, str(PROGRAMS / "{}.py".format(program)), *arguments]
    return Running(command, variables)


def finish(process: Running, within: float) -> Ended:
    """Waits for its end, and that of what it started. One that hangs is a failure, with the stacks of all of these."""
    began = time.monotonic()
    if not process.wait_all(within):
        stuck = "\n".join(where(pid) for pid in family(process.pid))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGABRT)  # faulthandler writes the Python stacks
        process.wait_all(30)
        raise AssertionError(
            "{} had not ended after {} s.\n{}\nIt printed:\n{}".format(process.args, within, stuck, process.end())
        )
    seconds = time.monotonic() - began
    return Ended(process.returncode, seconds, process.end())


def run(program: str, *arguments: str, within: float, environment: Optional[Mapping[str, str]] = None) -> Ended:
    """Runs it to its end, which must be a good one."""
    began = time.monotonic()
    ended = finish(start(program, *arguments, environment=environment), within)
    assert ended.status == 0, "{} {} ended with status {}:\n{}".format(program, arguments, ended.status, ended.printed)
    return ended._replace(seconds=time.monotonic() - began)


def family(group: int) -> List[int]:
    """The processes of a process group that have not ended."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                if os.getpgid(int(entry.name)) == group and state != "Z":
                    found.append(int(entry.name))
            except (ProcessLookupError, FileNotFoundError):
                continue
    return sorted(found)


def where(pid: int) -> str:
    """What each thread of a process waits for, as the kernel says."""
    lines = ["process {}:".format(pid)]
    for thread in sorted(Path("/proc/{}/task".format(pid)).glob("*")):
        try:
            name = (thread / "comm").read_text().strip()
            call = (thread / "syscall").read_text().split(" ")[0].strip()
            lines.append("  thread {} {}: {} in syscall {}".format(thread.name, name, _wchan(thread), call))
        except OSError as error:
            lines.append("  thread {}: {}".format(thread.name, error))
    return "\n".join(lines)


def _wchan(thread: Path) -> str:
    return (thread / "wchan").read_text().strip() or "?"


def under_alarm(within: float) -> None:
    """This process has so many seconds left: then it prints its stacks and dies, in whatever call it is. No thread does
    this (faulthandler has one, which a grandchild would wait for)."""
    faulthandler.register(signal.SIGALRM, all_threads=True, chain=True)
    signal.alarm(int(within))


def forked(child: Callable[[], None], within: float = 300.0) -> int:
    """Forks; the child runs the function under an alarm and leaves by ``os._exit``: 0, or 3 when it raised. Its pid."""
    pid = os.fork()
    if pid:
        return pid
    under_alarm(within)
    try:
        child()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(3)
    os._exit(0)


def reap(pids: Sequence[int], within: float = 400.0) -> None:
    """Waits for children; one that hangs or ends badly is an ``AssertionError`` that says which and where."""
    until = time.monotonic() + within
    bad: List[str] = []
    for pid in pids:
        while True:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                if status != 0:
                    bad.append("child {} ended with wait status {}".format(pid, status))
                break
            if time.monotonic() > until:
                bad.append("child {} hangs:\n{}".format(pid, where(pid)))
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                break
            time.sleep(0.005)
    assert not bad, "\n".join(bad)
