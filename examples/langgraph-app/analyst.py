"""A typed graph: it takes the event as it was published and says in one sentence what happened.

A real analyst would call a model in `summarise`; this one needs no key.
"""

from typing import Any, TypedDict

from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, StateGraph

from executions import record


class State(TypedDict, total=False):
    event: dict[str, Any]
    summary: str


def summarise(state: State, config: RunnableConfig) -> State:
    event = state.get("event") or {}
    record("analyst", event.get("event_id"), config)
    data = (event.get("payload") or {}).get("data") or {}
    if "fail" in data:
        raise ValueError(str(data["fail"]))
    workflow, run = event.get("workflow_id"), event.get("workflow_run_id")
    what = str(event.get("event_type", "")).removeprefix("WORKFLOW_").lower()
    return {"summary": f"{workflow} ({run}) {what}; its data: {', '.join(sorted(data)) or 'none'}"}


graph = (
    StateGraph(State)
    .add_node("summarise", summarise)
    .add_edge(START, "summarise")
    .add_edge("summarise", END)
    .compile()
)
