"""Workflow events in Python: what they are, and how they get into Kafka."""
