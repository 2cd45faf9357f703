"""A spool folder as an operator sees it: files, their modes, what is in them. Knows the documented format only."""

import json
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List


@dataclass(frozen=True)
class Spooled:
    """One file of the spool: a header line, then the event as it would have been published."""

    path: Path
    mode: int
    header: Dict[str, Any]
    value: bytes

    @property
    def event(self) -> Dict[str, Any]:
        event = json.loads(self.value)
        assert isinstance(event, dict), "not an object: {!r}".format(self.value)
        return event


class SpoolFolder:
    """The folder at ``path``, which need not be there."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def files(self) -> List[Path]:
        """The events that wait, oldest first; neither claimed ones nor quarantine."""
        return sorted(self.path.glob("*.event")) if self.path.is_dir() else []

    def everything(self) -> List[str]:
        """Every file below the folder, whatever it is."""
        return sorted(str(path.relative_to(self.path)) for path in self.path.rglob("*") if path.is_file())

    def spooled(self) -> List[Spooled]:
        return [_read(path) for path in self.files()]

    def events(self) -> List[Dict[str, Any]]:
        return [one.event for one in self.spooled()]

    def event_ids(self) -> List[str]:
        return [str(event["event_id"]) for event in self.events()]

    def mode(self) -> int:
        """The permission bits of the folder itself."""
        return stat.S_IMODE(self.path.stat().st_mode)


def _read(path: Path) -> Spooled:
    header, value = path.read_bytes().split(b"\n", 1)
    return Spooled(path, stat.S_IMODE(path.stat().st_mode), json.loads(header), value.rstrip(b"\n"))
