"""A signal in the middle of a call: SIGALRM arrives while the native client of a producer waits."""

import signal
import threading
import time
from typing import Any, List


class Armed:
    """The native client of a producer. Each of its waits gets the signal when it has waited for a while.

    A thread sends it, and can run only once the wait has released the GIL: a timer would send it also where
    the main thread stands still just before the wait.
    """

    def __init__(self, native: Any) -> None:
        self._native = native

    def begin_batch(self, *arguments: Any) -> "Armed":
        return Armed(self._native.begin_batch(*arguments))

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._native, name)
        if name not in ("publish", "finish", "drain"):
            return found

        def waits(*arguments: Any) -> Any:
            is_waiting: List[bool] = [False]
            has_ended = threading.Event()
            thread = threading.Thread(target=_send, args=(is_waiting, has_ended), daemon=True)
            thread.start()
            try:
                # From here to the call Python lets no other thread run: the wait has begun when the other sees it.
                is_waiting[0] = True
                return found(*arguments)
            finally:
                has_ended.set()
                thread.join()

        return waits


def _send(is_waiting: List[bool], has_ended: threading.Event) -> None:
    while not is_waiting[0]:
        time.sleep(0.001)
    # No signal for a wait that has ended: it would reach whatever comes after it.
    if not has_ended.wait(0.4):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)
