"""A graph with a side effect that happens once for each event, however often the graph runs.

The bridge asks for one run an event, and a server may execute a run again that it owns. What a node does to
the world is therefore keyed by the event's id, in the same transaction as the effect.
"""

import os
import sqlite3
from contextlib import closing
from typing import Any, TypedDict

from langgraph.graph import END, START, StateGraph

DATABASE = os.environ.get("RECEIPTS_FILE", "receipts.sqlite")


class State(TypedDict, total=False):
    event: dict[str, Any]
    receipt: str


def write_receipt(state: State) -> State:
    event = state["event"]
    with closing(sqlite3.connect(DATABASE)) as database, database:
        database.execute("CREATE TABLE IF NOT EXISTS receipts (event_id TEXT PRIMARY KEY, workflow_id TEXT)")
        row = (event["event_id"], event["workflow_id"])
        done = database.execute("INSERT OR IGNORE INTO receipts VALUES (?, ?)", row)
        return {"receipt": "written" if done.rowcount else "was there already"}


graph = (
    StateGraph(State)
    .add_node("write_receipt", write_receipt)
    .add_edge(START, "write_receipt")
    .add_edge("write_receipt", END)
    .compile()
)
