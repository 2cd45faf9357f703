"""`python -m workflow_events drain`: publishes the spool's events, where no other program of this project is installed.

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
#: Seconds that a drain waits for events that another process is draining, and between two attempts.
OTHERS_TIME, OTHERS_PAUSE = 15.0, 0.25
#: The largest number of seconds: thirty years.
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
        help="publish the spool's events",
        description="Publishes the spool's events for these brokers, the oldest first. The settings come from "
        "the environment: KAFKA_BOOTSTRAP_SERVERS and the rest of KAFKA_*, WORKFLOW_EVENTS_SPOOL_DIR.",
        epilog=(__doc__ or "").split("\n\n", 1)[1],
    )
    drain.add_argument("--watch", type=_positive, metavar="SECONDS", help="repeat every so many seconds, for ever")
    drain.add_argument("--max-events", type=_count, metavar="N", help="at most so many events at a time")
    drain.add_argument("--timeout", type=_positive, metavar="SECONDS", help="at most so long at a time")
    drain.add_argument("--bootstrap-servers", metavar="HOST:PORT", help="instead of KAFKA_BOOTSTRAP_SERVERS")
    drain.add_argument("--spool-dir", metavar="FOLDER", help="instead of WORKFLOW_EVENTS_SPOOL_DIR")
    return parser


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Runs a command: its exit code."""
    options = _parser().parse_args(arguments)
    # A drain may be killed at any moment: the next one takes over its events.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    try:
        producer = WorkflowEventProducer(options.bootstrap_servers, connect_timeout=None, spool_dir=options.spool_dir)
    except KafkaConfigurationError as error:
        print(error, file=sys.stderr)
        return CONFIG
    with producer:
        if producer.spool_dir is None:
            print("there is no spool: WORKFLOW_EVENTS_SPOOL_DIR switches it off", file=sys.stderr)
            return CONFIG
        while True:
            code = _drain(producer, options.max_events, options.timeout, quiet=options.watch is not None)
            if options.watch is None:
                return code
            time.sleep(options.watch)


def _drain(producer: WorkflowEventProducer, max_events: Optional[int], timeout: Optional[float], quiet: bool) -> int:
    try:
        done = producer.drain_spool(max_events, timeout)
        until = time.monotonic() + OTHERS_TIME
        # Other processes are draining the rest.
        while not quiet and _is_with_others(done, max_events, timeout) and time.monotonic() < until:
            time.sleep(OTHERS_PAUSE)
            done = _sum(done, producer.drain_spool())
    except KafkaError as error:
        print(error, file=sys.stderr, flush=True)
        return IO_ERROR
    if not quiet or done.published or done.quarantined or done.error:
        print(
            f"{done.published} published, {done.put_back} put back, {done.quarantined} quarantined, "
            f"{done.left} left in {producer.spool_dir}",
            flush=True,
        )
    for message in (done.error, done.note):
        if message is not None:
            print(message, file=sys.stderr, flush=True)
    if done.elsewhere and not quiet:
        print(
            f"{done.elsewhere} more in the spool are for other brokers: "
            "`workflow-bridge spool status` names them, `workflow-bridge spool drain` publishes them",
            file=sys.stderr,
            flush=True,
        )
    # Events that --max-events leaves are no failure.
    enough = max_events is not None and done.published + done.put_back + done.quarantined >= max_events
    if done.error is not None or done.put_back or (done.left > done.left_alone and not enough):
        return UNAVAILABLE
    return DATA if done.quarantined or done.left_alone else 0


def _is_with_others(done: DrainSummary, max_events: Optional[int], timeout: Optional[float]) -> bool:
    limited = max_events is not None or timeout is not None
    return not limited and done.left > done.left_alone and not done.put_back and done.error is None


def _sum(first: DrainSummary, more: DrainSummary) -> DrainSummary:
    """The sum of two passes; what is left is what the last one left."""
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
