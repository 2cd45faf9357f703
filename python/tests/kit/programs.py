"""Programs of a test, each in an interpreter of its own: run under a deadline, with the stacks of one that hangs.

A journal is how a program says what it was promised, even when it is killed or leaves by ``os._exit`` the moment after:
one line for each event, written by one call.
"""

import faulthandler
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence

PROGRAMS = Path(__file__).resolve().parents[1] / "programs"


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
        """The ids of these statuses; of all without one."""
        if not self.path.exists():
            return []
        lines = [line.split(" ", 1) for line in self.path.read_text().splitlines()]
        return [event_id for status, event_id in lines if not statuses or status in statuses]


class Ended(NamedTuple):
    """How a program ended."""

    status: int
    seconds: float
    printed: str


def start(program: str, *arguments: str, environment: Optional[Mapping[str, str]] = None) -> "subprocess.Popen[str]":
    """Starts ``programs/NAME.py``; both streams go to its pipe."""
    variables: Dict[str, str] = {**os.environ, **(environment or {})}
    variables["PYTHONPATH"] = str(PROGRAMS.parent)
    variables["PYTHONUNBUFFERED"] = "1"
    command = [sys.executable, str(PROGRAMS / "{}.py".format(program)), *arguments]
    return subprocess.Popen(
        command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def finish(process: "subprocess.Popen[str]", within: float) -> Ended:
    """Waits for its end. One that hangs is a failure, with the stacks of everything that it started."""
    began = time.monotonic()
    try:
        printed, _ = process.communicate(timeout=within)
    except subprocess.TimeoutExpired:
        stuck = "\n".join(where(pid) for pid in family(process.pid))
        os.killpg(process.pid, signal.SIGABRT)  # faulthandler writes the Python stacks
        try:
            printed, _ = process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            printed, _ = process.communicate()
        raise AssertionError(
            "{} had not ended after {} s.\n{}\nIt printed:\n{}".format(process.args, within, stuck, printed)
        ) from None
    return Ended(process.returncode, time.monotonic() - began, printed)


def run(program: str, *arguments: str, within: float, environment: Optional[Mapping[str, str]] = None) -> Ended:
    """Runs it to its end, which must be a good one."""
    began = time.monotonic()
    ended = finish(start(program, *arguments, environment=environment), within)
    assert ended.status == 0, "{} {} ended with status {}:\n{}".format(program, arguments, ended.status, ended.printed)
    return ended._replace(seconds=time.monotonic() - began)


def family(group: int) -> List[int]:
    """The processes of a process group."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.getpgid(int(entry.name)) == group:
                    found.append(int(entry.name))
            except ProcessLookupError:
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


def forked(child: Callable[[], None], within: float = 30.0) -> int:
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


def reap(pids: Sequence[int], within: float = 60.0) -> None:
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
