"""A native consumer without a Kafka: it hands over what a test gives it, and ends when it is told to."""

import json
import socket
from typing import Any, ClassVar, Dict, List, NamedTuple, Optional, Tuple


class Given(NamedTuple):
    """A call of the first handler."""

    token: int
    value: bytes
    handler: int = 0
    topic: str = "notes"
    partition: int = 0
    offset: int = 0
    event_id: str = "7"
    key: Optional[bytes] = None
    traceparent: Optional[str] = None
    tracestate: Optional[str] = None


class Ends:
    """It is assigned at once. `made`: those of this test."""

    made: ClassVar[List["Ends"]] = []
    ends_at_stop = True

    def __init__(self, handlers: Any, **settings: Any) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.ours.setblocking(False)
        self.problem: Optional[Tuple[str, str]] = None
        self.ended = False
        self.stops: List[float] = []
        self.calls: List[Given] = []
        self.notices: List[Tuple[int, str]] = []
        self.settled: Dict[int, Tuple[str, str, float]] = {}
        Ends.made.append(self)

    @classmethod
    def close(cls) -> None:
        for native in cls.made:
            native.ours.close()
            native.theirs.close()

    def start(self) -> int:
        return self.ours.fileno()

    def give(self, *payloads: Dict[str, Any], notices: Tuple[Tuple[int, str], ...] = ()) -> None:
        """Calls, whose tokens count from 0, and notices, which are there to be taken together."""
        first = len(self.settled) + len(self.calls)
        values = [json.dumps({"payload": payload}).encode() for payload in payloads]
        self.calls += [Given(token, value) for token, value in enumerate(values, first)]
        self.notices += notices
        self.theirs.send(b"!")

    def end(self, problem: Optional[Tuple[str, str]] = None) -> None:
        self.problem, self.ended = problem, True
        self.theirs.send(b"!")

    def take(self, limit: int) -> Tuple[List[Given], List[int], List[Tuple[int, str]]]:
        try:
            self.ours.recv(64)
        except BlockingIOError:
            pass
        calls, self.calls = self.calls, []
        notices, self.notices = self.notices, []
        return calls, [], notices

    def settle(self, token: int, verdict: str, text: str = "", seconds: float = 0.0) -> bool:
        assert token not in self.settled, f"{token} is settled twice"
        self.settled[token] = (verdict, text, seconds)
        return True

    def is_assigned(self) -> bool:
        return True

    def error(self) -> Optional[Tuple[str, str]]:
        return self.problem

    def stop(self, timeout: float) -> None:
        self.stops.append(timeout)
        if self.ends_at_stop and not self.ended:
            self.end()

    def has_ended(self) -> bool:
        return self.ended
