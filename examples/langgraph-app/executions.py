"""Counts what the graphs really ran.

Owns one file, named by EXECUTIONS_FILE: a JSON line for each execution, written by a single append
so that the lines of workers never mix. Without the variable nothing is written.
"""

import json
import os

from langchain_core.runnables import RunnableConfig


def record(graph: str, event_id: str | None, config: RunnableConfig) -> None:
    """Append one line: this graph ran for this event."""
    path = os.environ.get("EXECUTIONS_FILE")
    if not path:
        return
    configurable = config.get("configurable") or {}
    line = json.dumps(
        {
            "graph": graph,
            "event_id": event_id,
            "thread_id": str(configurable.get("thread_id") or ""),
            "run_id": str(configurable.get("run_id") or ""),
        }
    )
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, (line + "\n").encode())
    finally:
        os.close(file)
