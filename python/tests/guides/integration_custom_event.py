"""Integration guide, advanced usage: publish_workflow_event with everything said."""

from airflow_integration import publish_workflow_event
from workflow_events import EventType

assert publish_workflow_event(
    event_type=EventType.WORKFLOW_TRIGGERED,
    workflow_id="example_dag",
    workflow_run_id="run_123",
    payload={"custom_data": "value", "metadata": {"key": "value"}},
    metadata={"environment": "prod", "version": "1.0"},
    topic="workflow-events",
)
