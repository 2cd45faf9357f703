"""Locks of this host that a process holds until it ends, however it ends: the kernel keeps them (flock).

An orchestrator that was killed may start a task again while the process of before still ends its job, and knows nothing
of a process that was killed with it. Its invariants: at most as many jobs of a tenant run at once on this host as it
has slots; and no lock ever fails a job: where no file can be made, the orchestrator's own limits are all there is.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from contextlib import contextmanager
from typing import Any, Callable, Iterator, Optional

from .config import JobConfig, ScheduleConfig
from .job import LOOK
from .log import about, log

#: The folder of the locks, in the home of the orchestrator.
FOLDER = "workflow_runner"


def take(path: str) -> Optional[int]:
    """Takes the lock of this file, and makes the file: the descriptor that holds it. None: somebody else has it.

    Raises OSError when there can be no such file.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def slot(
    home: str, schedule: ScheduleConfig, job: JobConfig, slots: int, is_stopping: Callable[[], bool] = lambda: False
) -> Iterator[bool]:
    """Holds one of the tenant's slots, and waits for it if need be. False: it was told to stop meanwhile.

    home: the folder of the orchestrator.
    """
    folder = os.path.join(home, FOLDER, "slots")
    held = None
    try:
        os.makedirs(folder, exist_ok=True)
        held = _wait(
            [os.path.join(folder, f"{job.tenant_id}-{number}") for number in range(slots)],
            is_stopping,
            about(schedule, job),
        )
        is_free = held is not None
    except OSError as error:
        log(logging.WARNING, "lock_missing", f"no slot of the tenant is kept: {error}", **about(schedule, job))
        is_free = True
    try:
        yield is_free
    finally:
        if held is not None:
            os.close(held)


def _wait(paths: list[str], is_stopping: Callable[[], bool], whose: dict[str, Any]) -> Optional[int]:
    """The lock of one of these files, once one is free; None when it was told to stop."""
    has_said = False
    while not is_stopping():
        for path in paths:
            if (held := take(path)) is not None:
                return held
        if not has_said:
            has_said = True
            message = "another job of the tenant still runs on this host: this one waits for its end"
            log(logging.WARNING, "tenant_waiting", message, **whose)
        time.sleep(LOOK)
    return None
