//! OpenLineage run events: what Airflow, Spark, dbt, Dagster and Flink report of their runs, with a Kafka transport.
//!
//! A run is a run of a workflow if it is a DAG's or has no parent, and else a task of its parent's run. A state that is reported
//! again has another time and is another event; only the same event again is a duplicate.

use serde_json::{Map, Value};

use super::{
    fields::{has, json_type, optional, time},
    ids,
    names::{Source, canonical},
    poison::Poison,
};

/// The states of a run that have a name of ours.
pub(super) const EVENTS: &[(&str, &str)] = &[
    ("START", "WORKFLOW_TRIGGERED"),
    ("COMPLETE", "WORKFLOW_COMPLETED"),
    ("FAIL", "WORKFLOW_FAILED"),
    ("ABORT", "WORKFLOW_FAILED"),
];

/// What an event without a state is: the specification does not require one.
const NO_STATE: &str = "OTHER";

/// Fields of the job-type facet, and the metadata that they become.
pub(super) const OF_JOBS: &[(&str, &str)] =
    &[("jobType", "job_type"), ("integration", "integration"), ("processingType", "processing_type")];

/// The names of the parent facet. Airflow's integration before 2.7 writes the second.
const PARENT: [&str; 2] = ["parent", "parentRun"];

const WHAT: &str = "an OpenLineage event";

/// A job in a run of its own.
struct JobRun<'b> {
    namespace: &'b str,
    job: &'b str,
    run: &'b str,
}

/// Whether a body without an `event_id` is an OpenLineage event, a run's or another.
pub(super) fn is_body(body: &Map<String, Value>) -> bool {
    !has(body, "event_type")
        && has(body, "eventTime")
        && ["run", "job", "dataset"].iter().any(|field| has(body, field))
        && ["producer", "schemaURL", "eventType"].iter().any(|field| has(body, field))
}

/// The fields of the native event.
pub(super) fn fields(body: Map<String, Value>) -> Result<Map<String, Value>, Poison> {
    let state = optional(&body, "eventType", "eventType")?.unwrap_or(NO_STATE);
    let timestamp = time(required(&body, "eventTime", "eventTime", OF_EVERY_RUN)?, "eventTime")?.to_string();
    let run = object(&body, "run", "run")?.ok_or(missing("run", NOT_OF_A_RUN))?;
    let job = object(&body, "job", "job")?.ok_or(missing("job", OF_EVERY_RUN))?;
    let own = JobRun {
        namespace: namespace(job, "job.namespace", OF_EVERY_RUN)?,
        job: required(job, "name", "job.name", OF_EVERY_RUN)?,
        run: required(run, "runId", "run.runId", OF_EVERY_RUN)?,
    };
    let kind = |name| job.get("facets")?.get("jobType")?.get(name)?.as_str();
    let is_dag = kind("jobType").is_some_and(|name| canonical(name) == "DAG");
    let parent = if is_dag { None } else { parent(run)? };

    let mut metadata = Map::new();
    metadata.insert("scope".into(), if parent.is_some() { "task" } else { "dag" }.into());
    if let Some(parent) = &parent {
        let name = own.job.strip_prefix(parent.job).and_then(|rest| rest.strip_prefix('.'));
        metadata.insert("task_id".into(), name.filter(|name| !name.is_empty()).unwrap_or(own.job).into());
        metadata.insert("parent_namespace".into(), parent.namespace.into());
    }
    metadata.insert("job_namespace".into(), own.namespace.into());
    for (field, name) in OF_JOBS {
        if let Some(text) = kind(field) {
            metadata.insert((*name).into(), text.into());
        }
    }
    let source = match kind("integration").map(Source::read) {
        None | Some(Source::Other(_)) => Source::OpenLineage,
        Some(known) => known,
    };
    let id = ids::of_parts(&[own.run, state, own.namespace, own.job, &timestamp].map(str::as_bytes));
    let JobRun { job: workflow, run, .. } = parent.unwrap_or(own);
    let mut fields = Map::new();
    fields.insert("event_id".into(), id.into());
    fields.insert("event_type".into(), event_type(state).into());
    fields.insert("timestamp".into(), timestamp.into());
    fields.insert("source".into(), source.as_str().into());
    fields.insert("workflow_id".into(), workflow.into());
    fields.insert("workflow_run_id".into(), run.into());
    fields.insert("metadata".into(), metadata.into());
    fields.insert("payload".into(), Map::from_iter([("data".to_owned(), Value::Object(body))]).into());
    Ok(fields)
}

/// Our name of a state. One that is no start or end is kept.
fn event_type(state: &str) -> &str {
    let name = canonical(state);
    EVENTS.iter().find(|(known, _)| *known == name).map_or(state, |(_, event_type)| event_type)
}

/// The run that has started this one; a facet that is marked as deleted is absent.
fn parent(run: &Map<String, Value>) -> Result<Option<JobRun<'_>>, Poison> {
    for name in PARENT {
        let Some(facets) = object(run, "facets", "run.facets")? else { return Ok(None) };
        let facet = object(facets, name, if name == "parent" { "run.facets.parent" } else { "run.facets.parentRun" })?;
        let Some(facet) = facet.filter(|facet| facet.get("_deleted") != Some(&Value::Bool(true))) else { continue };
        let run =
            object(facet, "run", "run.facets.parent.run")?.ok_or(missing("run.facets.parent.run", OF_A_PARENT))?;
        let job =
            object(facet, "job", "run.facets.parent.job")?.ok_or(missing("run.facets.parent.job", OF_A_PARENT))?;
        return Ok(Some(JobRun {
            namespace: namespace(job, "run.facets.parent.job.namespace", OF_A_PARENT)?,
            job: required(job, "name", "run.facets.parent.job.name", OF_A_PARENT)?,
            run: required(run, "runId", "run.facets.parent.run.runId", OF_A_PARENT)?,
        }));
    }
    Ok(None)
}

/// The namespace of a job. It may be empty.
fn namespace<'b>(job: &'b Map<String, Value>, path: &'static str, remedy: &'static str) -> Result<&'b str, Poison> {
    match job.get("namespace") {
        Some(Value::String(text)) => Ok(text),
        None | Some(Value::Null) => Err(missing(path, remedy)),
        Some(other) => Err(Poison::WrongType { field: path, expected: "a string", found: json_type(other) }),
    }
}

/// An optional object.
fn object<'b>(
    fields: &'b Map<String, Value>,
    field: &str,
    path: &'static str,
) -> Result<Option<&'b Map<String, Value>>, Poison> {
    match fields.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(other) => Err(Poison::WrongType { field: path, expected: "an object", found: json_type(other) }),
    }
}

/// A required text.
fn required<'b>(
    fields: &'b Map<String, Value>,
    field: &str,
    path: &'static str,
    remedy: &'static str,
) -> Result<&'b str, Poison> {
    optional(fields, field, path)?.ok_or(missing(path, remedy))
}

const OF_EVERY_RUN: &str = "a run event has eventTime, run.runId, job.namespace and job.name; an event of another publisher needs an \
                            event_id of its own";
const NOT_OF_A_RUN: &str = "an event about a job or a dataset alone says of no run that it began or ended: send run events only to \
                            this topic";
const OF_A_PARENT: &str =
    "the parent facet has run.runId, job.namespace and job.name; leave it out if the run has no parent";

fn missing(attribute: &'static str, remedy: &'static str) -> Poison {
    Poison::MissingAttribute { what: WHAT, attribute, remedy }
}
