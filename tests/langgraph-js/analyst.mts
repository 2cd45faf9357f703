// A typed graph like examples/langgraph-app/analyst.py, for LangGraph.js: it counts what it really ran.

import { appendFileSync } from "node:fs";
import { Annotation, END, START, StateGraph } from "@langchain/langgraph";

const State = Annotation.Root({ event: Annotation<any>, summary: Annotation<string> });

export const graph = new StateGraph(State)
  .addNode("summarise", (state: any, config: any) => {
    const { thread_id, run_id } = config.configurable ?? {};
    const line = { graph: "analyst", event_id: state.event?.event_id ?? null, thread_id, run_id };
    // One append, so that the lines of workers never mix.
    if (process.env.EXECUTIONS_FILE) appendFileSync(process.env.EXECUTIONS_FILE, JSON.stringify(line) + "\n");
    return { summary: String(state.event?.workflow_id) };
  })
  .addEdge(START, "summarise")
  .addEdge("summarise", END)
  .compile();
