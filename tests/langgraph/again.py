"""The sample's analyst on a server that loses its workers: some runs are executed twice.

A server executes a run again that it has begun: after a crash, or when its worker fails in a way that is worth another try. This
graph takes a moment for each run, so that a server that ends has some under way, and lets a share of the runs fail so after they
have done their work. The file AGAIN_PERCENT has the share; none fails without it. No run fails twice: the folder AGAIN_RUNS
has a file for each that did.
"""

import os
import time
import zlib

from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, StateGraph

from analyst import State, summarise

try:
    from langgraph_runtime.retry import RETRIABLE_EXCEPTIONS
except ImportError:  # A server that tries no run again.
    RETRIABLE_EXCEPTIONS = ()

TAKES = 0.2


def percent() -> int:
    try:
        with open(os.environ["AGAIN_PERCENT"]) as file:
            return int(file.read() or 0)
    except OSError:
        return 0


def is_first(run_id: str) -> bool:
    try:
        os.close(os.open(os.path.join(os.environ["AGAIN_RUNS"], run_id), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def work(state: State, config: RunnableConfig) -> State:
    result = summarise(state, config)
    time.sleep(TAKES)
    run_id = str((config.get("configurable") or {}).get("run_id") or "")
    if RETRIABLE_EXCEPTIONS and zlib.crc32(run_id.encode()) % 100 < percent() and is_first(run_id):
        raise RETRIABLE_EXCEPTIONS[0]("the worker of this run is lost")
    return result


graph = StateGraph(State).add_node("work", work).add_edge(START, "work").add_edge("work", END).compile()
