//! The runner, for Python: its files as JSON, the retry policy, and one attempt of a job.

use std::{
    ffi::OsString,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use pyo3::{
    create_exception,
    exceptions::{PyException, PyOSError, PyValueError},
    prelude::*,
};
use serde_json::{Value, json};
use workflow_bridge::runner::{
    self, ConfigError, JobCommand, JobConfig, OrchestratorType, Progress, RetryConfig, RunnerConfig, RunnerMode,
    Schedule, Stream, Timing,
};

use crate::publisher::duration;

create_exception!(workflow_events._native, ConfigProblems, PyException, "A list of mistakes, each with its position.");
create_exception!(workflow_events._native, JobNotStarted, PyException, "(exit code, message).");

fn problems(error: &ConfigError) -> PyErr {
    ConfigProblems::new_err((error.problems.iter().map(ToString::to_string).collect::<Vec<_>>(),))
}

/// The content of runner.yaml in JSON. Raises ConfigProblems with every mistake.
#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "PyO3 passes owned values")]
pub fn read_runner(py: Python<'_>, path: PathBuf, time_zones: Vec<String>) -> PyResult<String> {
    let config = py.detach(|| RunnerConfig::from_yaml(&path, &time_zones)).map_err(|error| problems(&error))?;
    let mode = match config.mode {
        RunnerMode::Orchestrated => "orchestrated",
        RunnerMode::Oneshot => "oneshot",
    };
    let kind = match config.orchestrator.kind {
        OrchestratorType::Dagster => "dagster",
        OrchestratorType::Airflow => "airflow",
    };
    let schedules: Vec<Value> = config.orchestrator.schedules.iter().map(schedule).collect();
    let content = json!({
        "mode": mode,
        "command": config.command,
        "working_directory": config.working_directory,
        "orchestrator": {
            "type": kind,
            "concurrency_per_tenant": config.orchestrator.concurrency_per_tenant,
            "schedules": schedules,
        },
    });
    Ok(content.to_string())
}

fn schedule(schedule: &Schedule) -> Value {
    let (cron, cron_fields, interval_seconds) = match &schedule.timing {
        Timing::Cron { text, fields } => (Some(text), Some(fields), None),
        Timing::Interval(seconds) => (None, None, Some(seconds)),
    };
    json!({
        "name": schedule.name,
        "config": schedule.config,
        "cron": cron,
        "cron_fields": cron_fields,
        "interval_seconds": interval_seconds,
        "enabled": schedule.enabled,
        "timezone": schedule.timezone,
        "max_concurrent_runs": schedule.max_concurrent_runs,
        "tags": schedule.tags,
        "timeout_seconds": schedule.timeout_seconds,
    })
}

/// What the runner reads of a job's file, in JSON. Raises ConfigProblems with every mistake.
#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "PyO3 passes owned values")]
pub fn read_job(py: Python<'_>, path: PathBuf) -> PyResult<String> {
    let job = py.detach(|| JobConfig::from_yaml(&path)).map_err(|error| problems(&error))?;
    let retry = job.retry_config.map(|retry| {
        json!({
            "max_retries": retry.max_retries,
            "initial_delay_seconds": retry.initial_delay_seconds,
            "backoff_multiplier": retry.backoff_multiplier,
            "max_delay_seconds": retry.max_delay_seconds,
            "retryable_exit_codes": retry.retryable_exit_codes,
            "retryable_error_patterns": retry.retryable_error_patterns,
        })
    });
    let content = json!({
        "tenant_id": job.tenant_id,
        "connector": job.connector,
        "environment": job.environment,
        "retry_config": retry,
    });
    Ok(content.to_string())
}

/// Whether a failed job is started again, and after how long.
#[pyclass(frozen, module = "workflow_events._native")]
pub struct RetryPolicy(runner::RetryPolicy);

#[pymethods]
impl RetryPolicy {
    /// Raises ValueError for a pattern that is no regular expression.
    #[new]
    fn new(
        max_retries: u32,
        initial_delay_seconds: f64,
        backoff_multiplier: f64,
        max_delay_seconds: f64,
        retryable_exit_codes: Vec<u8>,
        retryable_error_patterns: Vec<String>,
    ) -> PyResult<Self> {
        let config = RetryConfig {
            max_retries,
            initial_delay_seconds,
            backoff_multiplier,
            max_delay_seconds,
            retryable_exit_codes,
            retryable_error_patterns,
        };
        runner::RetryPolicy::new(config).map(Self).map_err(PyValueError::new_err)
    }

    fn should_retry(&self, py: Python<'_>, exit_code: i32, error_message: &str, attempt: u32) -> bool {
        py.detach(|| self.0.should_retry(exit_code, error_message, attempt))
    }

    /// In seconds.
    fn delay(&self, attempt: u32) -> f64 {
        self.0.delay(attempt).as_secs_f64()
    }
}

/// One attempt of a job. Its thread alone runs Python.
#[pyclass(frozen, module = "workflow_events._native")]
pub struct JobProcess(Mutex<runner::JobProcess>);

/// The lines, each with whether it came from standard error; and how it ended: the exit code, and whether it timed out.
type Waited = (Vec<(bool, String)>, Option<(i32, bool)>);

#[pymethods]
impl JobProcess {
    /// Starts it. Raises JobNotStarted.
    #[new]
    #[pyo3(signature = (command, variables, working_directory=None, timeout=None))]
    fn new(
        py: Python<'_>,
        command: Vec<OsString>,
        variables: Vec<(OsString, OsString)>,
        working_directory: Option<PathBuf>,
        timeout: Option<f64>,
    ) -> PyResult<Self> {
        let mut words = command.into_iter();
        let job = JobCommand {
            program: words.next().unwrap_or_default(),
            arguments: words.collect(),
            working_directory,
            variables,
            timeout: timeout.map(duration),
        };
        let started = py.detach(|| runner::JobProcess::start(&job));
        started
            .map(|started| Self(Mutex::new(started)))
            .map_err(|error| JobNotStarted::new_err((error.exit_code, error.message)))
    }

    /// Waits for at most so many seconds for lines, or for the end. A signal's handler runs after it.
    fn wait(&self, py: Python<'_>, seconds: f64) -> PyResult<Waited> {
        let progress = py.detach(|| self.lock().wait(duration(seconds)));
        let lines = |lines: Vec<runner::Line>| {
            lines.into_iter().map(|line| (line.stream == Stream::Error, line.text)).collect::<Vec<_>>()
        };
        match progress.map_err(|error| PyOSError::new_err(format!("the end of the job cannot be read: {error}")))? {
            Progress::Running(written) => Ok((lines(written), None)),
            Progress::Ended(written, exit) => Ok((lines(written), Some((exit.code, exit.timed_out)))),
        }
    }

    /// Sends SIGTERM to the whole group; `wait` sends SIGKILL 10 s later.
    fn terminate(&self, py: Python<'_>) {
        py.detach(|| self.lock().terminate());
    }

    /// Ends the whole group, and returns when it is gone.
    fn close(&self, py: Python<'_>, grace: f64) {
        py.detach(|| self.lock().close(duration(grace)));
    }

    /// The end of what it wrote to standard error, at most 64 KiB.
    fn error_output(&self) -> String {
        self.lock().error_output()
    }
}

impl JobProcess {
    fn lock(&self) -> MutexGuard<'_, runner::JobProcess> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
