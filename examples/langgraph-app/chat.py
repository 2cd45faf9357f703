"""A chat graph: it knows `messages` and nothing else, and answers the last one.

It shows that the bridge's default input also serves graphs that were built for people.
"""

import json
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, MessagesState, StateGraph

from executions import record


def event_in(text: Any) -> dict[str, Any]:
    """The event that the message carries as JSON, or else an empty dict."""
    try:
        event = json.loads(text)
    except (TypeError, ValueError):
        return {}
    return event if isinstance(event, dict) else {}


def answer(state: MessagesState, config: RunnableConfig) -> MessagesState:
    text = state["messages"][-1].content
    event = event_in(text)
    record("chat", event.get("event_id"), config)
    about = event.get("workflow_id") or f"a message of {len(str(text))} characters"
    return {"messages": [{"role": "assistant", "content": f"I read about {about}."}]}


graph = (
    StateGraph(MessagesState)
    .add_node("answer", answer)
    .add_edge(START, "answer")
    .add_edge("answer", END)
    .compile()
)
