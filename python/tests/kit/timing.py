"""How long a call took, and how long it may take."""

import time
from typing import Any, Callable, Tuple

# What a call may take beyond its deadline, on a machine on which a thread or the disk may stand still for many seconds.
# What it must not wait for takes longer: the set-up of a connection has 30 s, a delivery two minutes.
LATE = 25.0


def timed(call: Callable[[], Any]) -> Tuple[Any, float]:
    """What it returned, and how many seconds that took."""
    began = time.monotonic()
    answer = call()
    return answer, time.monotonic() - began
