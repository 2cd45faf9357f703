"""The log: the logger ``workflow_runner``, one JSON object a line. The commands write it to the standard error."""

from __future__ import annotations

import json
import logging
from datetime import datetime, timezone
from typing import Any, TextIO

from .config import JobConfig, ScheduleConfig

logger = logging.getLogger("workflow_runner")
output_logger = logging.getLogger("workflow_runner_output")
"""What jobs write, line by line, where an orchestrator keeps a log of each task."""


def log(level: int, event_type: str, message: str, **fields: Any) -> None:
    """One line. A field that is None is left out."""
    if logger.isEnabledFor(level):
        logger.log(level, "%s", _line(level, message, event_type=event_type, **fields))


def about(schedule: ScheduleConfig, job: JobConfig | None = None) -> dict[str, Any]:
    """The fields that say whose line it is."""
    fields: dict[str, Any] = {"job_name": schedule.name}
    if job is not None:
        fields.update(tenant_id=job.tenant_id, connector_type=job.connector)
    return fields


def log_to(stream: TextIO) -> None:
    """For a command: every line of this process, also of other loggers, as JSON to this stream."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        if record.name == logger.name:
            return record.getMessage()
        return _line(record.levelno, super().format(record), logger=record.name)


def _line(level: int, message: str, **fields: Any) -> str:
    known = {name: value for name, value in fields.items() if value is not None}
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps({"timestamp": now, "level": logging.getLevelName(level), "message": message, **known})
