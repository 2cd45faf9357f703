"""`python -m workflow_events drain`: what waits in the spool, into Kafka, where no other program of ours is installed.

Exit codes: 0 done; 65 something can never be published, or read; 69 Kafka did not take everything; 74 the spool cannot
be read; 78 the settings are wrong.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time

from .errors import KafkaConfigurationError, KafkaError
from .producer import WorkflowEventProducer
from .summary import DrainSummary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Optional

DATA, UNAVAILABLE, IO_ERROR, CONFIG = 65, 69, 74, 78
#: Seconds that a drain waits for the events that another process is draining, and between two looks at them.
OTHERS_TIME, OTHERS_PAUSE = 15.0, 0.25
#: Seconds that any clock can hold: thirty years.
LONGEST = 1_000_000_000


def _positive(text: str) -> float:
    number = float(text)
    if not number > 0:
        raise argparse.ArgumentTypeError(f"expected a number above 0, found {text}")
    if number > LONGEST:
        raise argparse.ArgumentTypeError(f"expected at most {LONGEST}, found {text}")
    return number


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, found {text}")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workflow_events", description="Workflow events, from the shell.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    drain = commands.add_parser(
        "drain",
        help="publish what waits in the spool",
        description="Publishes what waits in the spool for these brokers, the oldest first. The settings are those of "
        "the environment: KAFKA_BOOTSTRAP_SERVERS and the rest of KAFKA_*, WORKFLOW_EVENTS_SPOOL_DIR.",
        epilog=(__doc__ or "").split("\n\n", 1)[1],
    )
    drain.add_argument("--watch", type=_positive, metavar="SECONDS", help="do it again every so many seconds, for ever")
    drain.add_argument("--max-events", type=_count, metavar="N", help="at most so many events at once")
    drain.add_argument("--timeout", type=_positive, metavar="SECONDS", help="at most so long at once")
    drain.add_argument("--bootstrap-servers", metavar="HOST:PORT", help="instead of KAFKA_BOOTSTRAP_SERVERS")
    drain.add_argument("--spool-dir", metavar="FOLDER", help="instead of WORKFLOW_EVENTS_SPOOL_DIR")
    return parser


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Runs a command: its exit code."""
    given = _parser().parse_args(arguments)
    # A drain may be ended at any moment: what it holds is taken over by the next.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    try:
        producer = WorkflowEventProducer(given.bootstrap_servers, connect_timeout=None, spool_dir=given.spool_dir)
    except KafkaConfigurationError as error:
        print(error, file=sys.stderr)
        return CONFIG
    with producer:
        if producer.spool_dir is None:
            print("there is no spool: WORKFLOW_EVENTS_SPOOL_DIR switches it off", file=sys.stderr)
            return CONFIG
        while True:
            code = _drain(producer, given.max_events, given.timeout, quiet=given.watch is not None)
            if given.watch is None:
                return code
            time.sleep(given.watch)


def _drain(producer: WorkflowEventProducer, max_events: Optional[int], timeout: Optional[float], quiet: bool) -> int:
    try:
        done = producer.drain_spool(max_events, timeout)
        until = time.monotonic() + OTHERS_TIME
        # The rest is in the hands of other processes at the moment.
        while not quiet and _in_other_hands(done, max_events, timeout) and time.monotonic() < until:
            time.sleep(OTHERS_PAUSE)
            done = _and(done, producer.drain_spool())
    except KafkaError as error:
        print(error, file=sys.stderr, flush=True)
        return IO_ERROR
    if not quiet or done.published or done.quarantined or done.error:
        print(
            f"{done.published} published, {done.put_back} put back, {done.quarantined} quarantined, "
            f"{done.left} left in {producer.spool_dir}",
            flush=True,
        )
    for said in (done.error, done.note):
        if said is not None:
            print(said, file=sys.stderr, flush=True)
    if done.elsewhere and not quiet:
        print(
            f"{done.elsewhere} more wait there for other brokers than these: "
            "`workflow-bridge spool status` names them, `workflow-bridge spool drain` publishes them",
            file=sys.stderr,
            flush=True,
        )
    # What --max-events leaves for another time is no failure.
    enough = max_events is not None and done.published + done.put_back + done.quarantined >= max_events
    if done.error is not None or done.put_back or (done.left > done.left_alone and not enough):
        return UNAVAILABLE
    return DATA if done.quarantined or done.left_alone else 0


def _in_other_hands(done: DrainSummary, max_events: Optional[int], timeout: Optional[float]) -> bool:
    limited = max_events is not None or timeout is not None
    return not limited and done.left > done.left_alone and not done.put_back and done.error is None


def _and(first: DrainSummary, more: DrainSummary) -> DrainSummary:
    """Two passes as one: what is left is what the last one left."""
    return DrainSummary(
        first.published + more.published,
        more.put_back,
        first.quarantined + more.quarantined,
        more.left,
        more.error,
        more.note or first.note,
        more.elsewhere,
        more.left_alone,
    )


if __name__ == "__main__":
    sys.exit(main())
