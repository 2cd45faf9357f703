"""OpenLineage's own client publishes to the topic, and the bridge reads what it writes."""

from typing import Any, Dict, Optional, Tuple

from kit.bridge import Bridge, HttpAgent
from kit.poll import poll
from kit.reader import Kafka
from openlineage.client import OpenLineageClient, event_v2
from openlineage.client.facet_v2 import job_type_job, parent_run
from openlineage.client.transport.kafka import KafkaConfig, KafkaTransport
from openlineage.client.uuid import generate_new_uuid

_ROUTING = """
agents:
  keeper: {{http: {{url: "{url}/events"}}, timeout: 60s}}
rules:
  - name: dag-runs
    when:
      event_type: [WORKFLOW_COMPLETED]
      source: [AIRFLOW]
      workflow_id: [etl_daily]
      metadata: {{scope: [dag]}}
    to: [keeper]
  - name: spark-of-that-dag
    when:
      event_type: [WORKFLOW_FAILED]
      source: [OPENLINEAGE]
      workflow_id: [etl_daily.load]
      metadata: {{scope: [task], integration: [SPARK], job_type: [SQL_JOB]}}
    to: [keeper]
"""


def _job(namespace: str, name: str, integration: str, job_type: str) -> event_v2.Job:
    facet = job_type_job.JobTypeJobFacet(processingType="BATCH", integration=integration, jobType=job_type)
    return event_v2.Job(namespace=namespace, name=name, facets={"jobType": facet})


def _run(parent: Optional[Tuple[str, str, str]] = None) -> event_v2.Run:
    facets: Dict[str, Any] = {}
    if parent:
        run, namespace, name = parent
        of = parent_run.ParentRunFacet(
            run=parent_run.Run(runId=run), job=parent_run.Job(namespace=namespace, name=name)
        )
        facets["parent"] = of
    return event_v2.Run(runId=str(generate_new_uuid()), facets=facets)


def test_runs_that_the_client_of_openlineage_reports_reach_the_agents_of_their_rules_once(
    kafka: Kafka, topic: str
) -> None:
    dag = _job("airflow-prod", "etl_daily", "AIRFLOW", "DAG")
    task = _job("airflow-prod", "etl_daily.load", "AIRFLOW", "TASK")
    spark = _job("spark", "orders.insert", "SPARK", "SQL_JOB")
    dag_run = _run()
    task_run = _run((dag_run.runId, "airflow-prod", "etl_daily"))
    spark_run = _run((task_run.runId, "airflow-prod", "etl_daily.load"))
    state = event_v2.RunState
    steps = [
        (state.START, dag_run, dag),
        (state.START, task_run, task),
        (state.START, spark_run, spark),
        (state.FAIL, spark_run, spark),
        (state.COMPLETE, task_run, task),
        (state.COMPLETE, dag_run, dag),
    ]
    settings = KafkaConfig(config={"bootstrap.servers": kafka.bootstrap}, topic=topic)
    client = OpenLineageClient(transport=KafkaTransport(settings))
    for _ in range(2):  # the second time, each is a duplicate or matches no rule
        for second, (kind, run, job) in enumerate(steps):
            at = "2026-01-31T12:00:0{}.250Z".format(second)
            client.emit(
                event_v2.RunEvent(eventType=kind, eventTime=at, run=run, job=job, producer="https://example.com")
            )

    agent = HttpAgent()
    try:
        with Bridge(kafka, topic, routing=_ROUTING.format(url=agent.url)) as bridge:

            def outcomes() -> Dict[str, float]:
                names = ("delivered", "duplicate", "unmatched", "dead_lettered")
                return {
                    name: bridge.metric("workflow_bridge_events_total", 'outcome="{}"'.format(name)) for name in names
                }

            expected = {"delivered": 2.0, "duplicate": 2.0, "unmatched": 8.0, "dead_lettered": 0.0}
            poll(120.0, "every event has its outcome", outcomes, lambda seen: seen == expected)
    finally:
        agent.close()

    of_dag, of_spark = sorted(agent.received, key=lambda event: str(event["source"]))
    fields = ("event_type", "source", "workflow_id", "workflow_run_id")
    assert [of_dag[field] for field in fields] == ["WORKFLOW_COMPLETED", "AIRFLOW", "etl_daily", dag_run.runId]
    assert [of_spark[field] for field in fields] == [
        "WORKFLOW_FAILED",
        "OPENLINEAGE",
        "etl_daily.load",
        task_run.runId,
    ]
    assert of_spark["metadata"]["task_id"] == "orders.insert"
    assert of_spark["payload"]["data"]["run"]["runId"] == spark_run.runId
    assert of_dag["timestamp"] == "2026-01-31T12:00:05.25Z"
