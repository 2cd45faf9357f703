"""Producer guide: a FastAPI application with one producer. Corrected: the example does not import uuid."""

import uuid

from fastapi import FastAPI
from workflow_events import (
    EventSource,
    EventType,
    WorkflowEvent,
    WorkflowEventMetadata,
    WorkflowEventPayload,
    WorkflowEventProducer,
)

app = FastAPI()
producer = WorkflowEventProducer()


@app.post("/workflow/trigger")
async def trigger_workflow(workflow_id: str) -> dict:
    event = WorkflowEvent(
        event_type=EventType.WORKFLOW_TRIGGERED,
        source=EventSource.FASTAPI,
        workflow_id=workflow_id,
        workflow_run_id=f"run_{uuid.uuid4()}",
        payload=WorkflowEventPayload(data={"triggered_by": "api"}),
        metadata=WorkflowEventMetadata(environment="prod"),
    )

    success = producer.publish_event(event)
    return {"published": success}
