"""`python -m workflow_events drain`: what waits in the spool, into Kafka, where no other program of ours is installed.

Exit codes: 0 done; 69 Kafka did not take everything; 74 the spool cannot be read; 78 the settings are wrong.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time

from .errors import KafkaConfigurationError, KafkaError
from .producer import WorkflowEventProducer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Optional

UNAVAILABLE, IO_ERROR, CONFIG = 69, 74, 78


def _positive(text: str) -> float:
    number = float(text)
    if not number > 0:
        raise argparse.ArgumentTypeError(f"expected a number above 0, found {text}")
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
    return UNAVAILABLE if done.error is not None or done.put_back else 0


if __name__ == "__main__":
    sys.exit(main())
