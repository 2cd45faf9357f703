"""How long a call took, and how long it may take."""

import time
from typing import Any, Callable, Tuple

# What a call may take beyond its deadline, on a machine that does much else and whose disk is slow. What it must not
# wait for (a host's look-up, a connection, another's time-out) takes longer.
LATE = 4.0


def timed(call: Callable[[], Any]) -> Tuple[Any, float]:
    """What it returned, and how many seconds that took."""
    began = time.monotonic()
    answer = call()
    return answer, time.monotonic() - began
