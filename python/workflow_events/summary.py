"""The results of `publish_many` and `drain_spool`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

    from ._native import Outcome


class PublishSummary:
    """The result of `publish_many`. `outcomes` has one for each event, in their order."""

    __slots__ = ("published", "spooled", "failed", "outcomes")

    def __init__(self, outcomes: list[Outcome]) -> None:
        self.outcomes = outcomes
        self.published = sum(outcome.status == "published" for outcome in outcomes)
        """How many the broker acknowledged."""
        self.spooled = sum(outcome.status == "spooled" for outcome in outcomes)
        """How many are in the spool."""
        self.failed = len(outcomes) - self.published - self.spooled
        """How many are in neither; each is in its outcome and in the log."""

    def __repr__(self) -> str:
        return f"PublishSummary(published={self.published}, spooled={self.spooled}, failed={self.failed})"


class DrainSummary:
    """The result of `drain_spool`."""

    __slots__ = ("published", "put_back", "quarantined", "left", "error", "note", "elsewhere", "left_alone")

    def __init__(
        self,
        published: int,
        put_back: int,
        quarantined: int,
        left: int,
        error: Optional[str],
        note: Optional[str] = None,
        elsewhere: int = 0,
        left_alone: int = 0,
    ) -> None:
        self.published = published
        """How many the broker acknowledged; they are removed from the spool."""
        self.put_back = put_back
        """How many it did not acknowledge; they stay in the spool."""
        self.quarantined = quarantined
        """How many can never be published; they are in `quarantine/`, each with its reason."""
        self.left = left
        """How many are still in the spool, including those that other processes are draining."""
        self.error = error
        """The last error."""
        self.note = note
        """Why an event was quarantined or left alone: the last reason."""
        self.elsewhere = elsewhere
        """How many are for other brokers; this producer never publishes them."""
        self.left_alone = left_alone
        """How many of `left` cannot be read, or are of a newer version: no drain takes them."""

    def __repr__(self) -> str:
        return (
            f"DrainSummary(published={self.published}, put_back={self.put_back}, quarantined={self.quarantined}, "
            f"left={self.left}, error={self.error!r})"
        )
