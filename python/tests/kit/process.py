"""A child process that cannot outlive the tests: its output kept, its end bounded.

Knows nothing of what runs in it.
"""

import fcntl
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Set

from .poll import poll

ROOT = Path(__file__).resolve().parents[3]

# A program that asks the kernel for SIGKILL at its parent's end (PR_SET_PDEATHSIG is 1), makes sure that the parent has
# not ended before, and becomes the command. A preexec_fn would do the same, with a fork of a process with threads.
_BECOME = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execvp(sys.argv[2], sys.argv[2:])
"""

_given: Set[int] = set()
_PORTS = Path(tempfile.gettempdir()) / "workflow-events-ports-{}".format(os.getuid())


def free_port() -> int:
    """A loopback port that nobody listens on and that no outgoing connection takes: a server can be stopped and
    started again on it. No other test process gets it while this one runs."""
    for _ in range(1000):
        port = random.SystemRandom().randrange(15000, 32000)  # Linux gives outgoing connections ports from 32768
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if not _locked(port):
            continue
        _given.add(port)
        return port
    raise AssertionError("no free port between 15000 and 32000")


def _locked(port: int) -> bool:
    """Whether the port's lock is ours, until this process ends: between two starts of a server nobody listens."""
    _PORTS.mkdir(mode=0o700, exist_ok=True)
    file = os.open(str(_PORTS / str(port)), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        return False
    return True


def prepared(path: str) -> Path:
    """A path of what ``make`` prepared: under ``target/it`` of the repository."""
    return ROOT / "target" / "it" / path


class Scratch:
    """A temporary folder that goes with its owner."""

    def __init__(self, prefix: str) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="workflow-events-{}-".format(prefix)))

    def remove(self) -> None:
        shutil.rmtree(str(self.path), ignore_errors=True)


class Process:
    """A running program. SIGKILL reaches it when the test process ends, whatever ended that."""

    def __init__(self, what: str, command: Sequence[str], log: Path, cwd: Path, env: Dict[str, str]) -> None:
        self.what = what
        self.log = log
        with open(str(log), "ab") as output:
            self._began_at = output.tell()
            self._child = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _BECOME, str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=str(cwd),
                env=env,
            )

    @property
    def pid(self) -> int:
        return self._child.pid

    def status(self) -> Optional[int]:
        """The exit status; ``None`` while it runs."""
        return self._child.poll()

    def lines(self) -> List[str]:
        """What it has written, both streams. While it runs, without a line that it has not ended yet."""
        has_ended = self.status() is not None
        with open(str(self.log), "rb") as file:
            file.seek(self._began_at)
            text = file.read().decode("utf-8", "replace")
        return (text if has_ended else text[: text.rfind("\n") + 1]).splitlines()

    def tail(self, count: int = 40) -> str:
        return "\n".join(self.lines()[-count:])

    def wait_line(self, text: str, within: float) -> str:
        """The first line with this text. Fails with the log when the process ends before."""

        def look() -> str:
            found = [line for line in self.lines() if text in line]
            return found[0] if found else ""

        def ended_or_found(found: str) -> bool:
            return bool(found) or self.status() is not None

        line = poll(within, "{} writes {!r}".format(self.what, text), look, ended_or_found)
        line = line or look()
        assert line, "{} ended with status {} before it wrote {!r}:\n{}".format(
            self.what, self.status(), text, self.tail()
        )
        return line

    def wait(self, within: float) -> int:
        """Its exit status, when it ends within that time."""
        poll(within, "{} ends".format(self.what), self.status, lambda status: status is not None, every=0.02)
        status = self.status()
        assert status is not None
        return status

    def signal(self, number: int) -> None:
        if self.status() is None:
            self._child.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and waits for its end."""
        if self.status() is None:
            self._child.kill()
        self._child.wait()
