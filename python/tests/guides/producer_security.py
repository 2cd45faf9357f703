"""Producer guide, security. Corrected: the example leaves the SASL settings out; these are their names."""

import os

from workflow_events import (
    EventSource,
    EventType,
    WorkflowEvent,
    WorkflowEventMetadata,
    WorkflowEventPayload,
    WorkflowEventProducer,
)

producer = WorkflowEventProducer(
    bootstrap_servers=os.environ["SECURED_BOOTSTRAP_SERVERS"],
    security_protocol="SASL_SSL",
    sasl_mechanism="SCRAM-SHA-512",
    sasl_username=os.environ["SECURED_USERNAME"],
    sasl_password=os.environ["SECURED_PASSWORD"],
    ssl_cafile=os.environ["SECURED_CAFILE"],
)
event = WorkflowEvent(
    event_type=EventType.WORKFLOW_COMPLETED,
    source=EventSource.AIRFLOW,
    workflow_id="example_dag",
    workflow_run_id="run_secured",
    payload=WorkflowEventPayload(data={}),
    metadata=WorkflowEventMetadata(environment="prod"),
)
success = producer.publish_event(event)
print(f"published: {success}")
producer.close()
