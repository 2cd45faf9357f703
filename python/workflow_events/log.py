"""The log of what became of events: the logger `workflow_events`.

Owns the levels: published is INFO, spooled a WARNING with the path, what is no event an ERROR, and an event that is
neither in Kafka nor in the spool CRITICAL, with the whole event, so that it can be recovered from the log. A payload is
data and not a secret; no setting is ever logged.
"""

from __future__ import annotations

import logging

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._native import Outcome

logger = logging.getLogger("workflow_events")


def report(outcomes: list[Outcome]) -> None:
    """Logs what became of events: many of one kind in one line, but each that is lost in one of its own."""
    if not outcomes:
        return
    alike: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        # What has no spool is as lost as what no spool took. What was refused as no event is not, nor what is kept.
        unkept = outcome.kind != "invalid" and outcome.path is None
        lost = outcome.status == "lost" or (outcome.status == "failed" and unkept)
        alike.setdefault("lost" if lost else outcome.status, []).append(outcome)
    for status, group in alike.items():
        if status == "lost":
            for outcome in group:
                logger.critical("EVENT LOST: %s. Keep it, and publish it again: %s", outcome.message, outcome.event)
            continue
        level, text = _LINES.get(status, _LINES["failed"])
        if logger.isEnabledFor(level):
            logger.log(level, text, group[0].message, f" (and {len(group) - 1} more)" if len(group) > 1 else "")


_LINES = {
    "published": (logging.INFO, "event published: %s%s"),
    "spooled": (
        logging.WARNING,
        "event not in Kafka yet, but safe: %s%s. It is published when a client of these brokers next publishes, or by: "
        "python -m workflow_events drain",
    ),
    "failed": (logging.ERROR, "event not published: %s%s"),
}
