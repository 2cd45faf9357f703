"""Runs a program with the default time-outs of a producer, and patience: ``patient.py [--connect] PROGRAM``.

A broker that is there may need longer than these defaults on a slow machine (2 s to be found, 5 s or 10 s for an
acknowledgement), and a program of a page is run as it stands. Here each positive time-out of a producer is at least a
minute: what is published straight into the spool still is, and everything else is the program's own. With ``--connect``
only the search for a broker is patient.
"""

import runpy
import sys
from pathlib import Path
from typing import Any, Callable

from workflow_events.aio import AsyncWorkflowEventProducer
from workflow_events.producer import WorkflowEventProducer
from workflow_events.settings import Resolver

LEAST = 60.0


def at_least(seconds: Any) -> Any:
    """0 and None have a meaning of their own, and what is no number is for the producer to refuse."""
    return max(seconds, LEAST) if isinstance(seconds, (int, float)) and seconds > 0 else seconds


def install_connect(put: Callable[[Any, str, Any], None] = setattr) -> None:
    """For this process, or with ``monkeypatch.setattr`` for one test: patience in the search for a broker."""
    find = Resolver.connect_timeout
    put(Resolver, "connect_timeout", lambda self, value, mistakes: at_least(find(self, value, mistakes)))


def install(put: Callable[[Any, str, Any], None] = setattr) -> None:
    """The same, and patience with each call."""
    install_connect(put)
    deadline, left = WorkflowEventProducer._deadline, AsyncWorkflowEventProducer._left
    flush, close = WorkflowEventProducer.flush, WorkflowEventProducer.close
    # Every publish of a producer asks this one; an asyncio producer counts the time itself.
    put(WorkflowEventProducer, "_deadline", lambda self, timeout: at_least(deadline(self, timeout)))
    put(AsyncWorkflowEventProducer, "_left", lambda self, timeout: left(self, at_least(timeout)))
    put(WorkflowEventProducer, "flush", lambda self, timeout=None: flush(self, at_least(timeout)))
    put(WorkflowEventProducer, "close", lambda self, timeout=10.0: close(self, at_least(timeout)))


if __name__ == "__main__":
    del sys.argv[0]
    if sys.argv[0] == "--connect":
        del sys.argv[0]
        install_connect()
    else:
        install()
    sys.path[0] = str(Path(sys.argv[0]).parent)
    # Its names stay alive until the interpreter ends, as those of a program do.
    names = runpy.run_path(sys.argv[0], run_name="__main__")
