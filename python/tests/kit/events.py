"""Events to publish, as dicts of the wire format."""

import uuid
from typing import Any, Dict, Optional


def an_event(event_id: Optional[str] = None, **fields: Any) -> Dict[str, Any]:
    """A complete event, with an id of its own if none is given. ``fields`` replace what it has otherwise."""
    return {
        "event_id": event_id if event_id is not None else str(uuid.uuid4()),
        "event_type": "WORKFLOW_COMPLETED",
        "timestamp": "2026-01-31T12:00:00.678901Z",
        "source": "AIRFLOW",
        "workflow_id": "etl",
        "workflow_run_id": "run",
        "payload": {"data": {"text": "Grüße"}},
        "metadata": {"environment": "dev", "version": "1.0"},
        **fields,
    }
