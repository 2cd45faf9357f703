"""How long a call took, and how long it may take."""

import time
from typing import Any, Callable, Tuple

# What a call may take beyond its deadline, on a machine on which a thread or the disk may stand still for many seconds.
# What it must not wait for takes longer: a delivery has two minutes, the set-up of a connection five (`SLOW_SET_UP`).
LATE = 90.0
# For a producer's `properties`: by default the set-up of a connection is given up after 30 s.
SLOW_SET_UP = {"socket.connection.setup.timeout.ms": "300000"}


def timed(call: Callable[[], Any]) -> Tuple[Any, float]:
    """What it returned, and how many seconds that took."""
    began = time.monotonic()
    answer = call()
    return answer, time.monotonic() - began
