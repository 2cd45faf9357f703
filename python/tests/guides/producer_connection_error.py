"""Producer guide: a broker that is not there is a KafkaError from the constructor."""

# Corrected: the example does not say where KafkaError comes from. Either place will do.
import kafka.errors
from workflow_events import KafkaError, WorkflowEventProducer

try:
    producer = WorkflowEventProducer(bootstrap_servers="invalid:9092")
except KafkaError as e:
    print(f"Failed to connect: {e}")

try:
    producer = WorkflowEventProducer(bootstrap_servers="invalid:9092")
except kafka.errors.KafkaError as e:
    print(f"Failed to connect: {e}")
