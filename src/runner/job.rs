//! The file of a job, of which the runner reads a few keys: the rest belongs to the program that runs it.

use std::path::Path;

use super::{
    ConfigError, RetryConfig, RetryPolicy,
    fields::{Fields, Unknown},
    yaml_file::YamlFile,
};
use crate::yaml::{Node, Position};

const JOB: [&str; 7] =
    ["tenant_id", "tenant", "source_connector", "connector", "source_connector_path", "environment", "retry_config"];
const RETRY: [&str; 7] = [
    "max_retries",
    "initial_delay_seconds",
    "retry_delay_seconds",
    "backoff_multiplier",
    "max_delay_seconds",
    "retryable_exit_codes",
    "retryable_error_patterns",
];

const MAX_RETRIES: u64 = 1_000;
/// Thirty days.
const MAX_DELAY: f64 = 2_592_000.0;
const MAX_MULTIPLIER: f64 = 1_000.0;
const MAX_PATTERNS: usize = 100;

/// What the runner reads of a job's file.
#[derive(Debug, Clone, PartialEq)]
pub struct JobConfig {
    /// Whose job it is.
    pub tenant_id: String,
    /// What it reads from.
    pub connector: Option<String>,
    /// Where it runs: dev, staging, prod, or anything else.
    pub environment: Option<String>,
    /// When it is started again; `None`: never.
    pub retry_config: Option<RetryConfig>,
}

impl JobConfig {
    /// Reads a job's file.
    ///
    /// # Errors
    /// Every mistake in the keys that are read.
    pub fn from_yaml(path: &Path) -> Result<Self, ConfigError> {
        let (mut file, root) = YamlFile::read(path);
        let job = root.and_then(|root| job(&mut file, &root));
        file.finish(job)
    }

    #[cfg(test)]
    pub(super) fn parse(text: &str) -> Result<Self, ConfigError> {
        let (mut file, root) = YamlFile::parse("job.yaml", text);
        let job = root.and_then(|root| job(&mut file, &root));
        file.finish(job)
    }
}

fn job(file: &mut YamlFile, root: &Node) -> Option<JobConfig> {
    let mut fields = Fields::of(file, root, "", "", &JOB, &Unknown::Ignored)?;
    let tenant_key = if fields.get("tenant_id").is_some() { "tenant_id" } else { "tenant" };
    if fields.get(tenant_key).is_none() {
        fields.missing::<()>("tenant_id", "the name of the tenant");
    }
    let tenant_id = fields.name(tenant_key);
    let connector = connector(&mut fields);
    let environment = fields.text("environment").map(|text| text.trim().to_owned());
    let retry_config = match fields.get("retry_config") {
        Some(node) => Some(retry(file, node)?),
        None => None,
    };
    Some(JobConfig { tenant_id: tenant_id?, connector, environment, retry_config })
}

fn connector(fields: &mut Fields) -> Option<String> {
    for key in ["source_connector", "connector"] {
        if fields.get(key).is_some() {
            return fields.text(key).map(|text| text.trim().to_owned());
        }
    }
    let path = Path::new(fields.text("source_connector_path")?);
    path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned)
}

fn retry(file: &mut YamlFile, node: &Node) -> Option<RetryConfig> {
    let mut fields = Fields::of(file, node, "", "retry_config.", &RETRY, &Unknown::Misspelt)?;
    let default = RetryConfig::default();
    let max_retries = fields.whole("max_retries", 0..=MAX_RETRIES).and_then(|number| u32::try_from(number).ok());
    let delay_key =
        if fields.get("initial_delay_seconds").is_some() { "initial_delay_seconds" } else { "retry_delay_seconds" };
    let initial_delay_seconds = fields.number(delay_key, 0.0..=MAX_DELAY);
    let backoff_multiplier = fields.number("backoff_multiplier", 1.0..=MAX_MULTIPLIER);
    let max_delay_seconds = fields.number("max_delay_seconds", 0.0..=MAX_DELAY);
    let retryable_exit_codes = exit_codes(&mut fields);
    let patterns = fields.texts("retryable_error_patterns", MAX_PATTERNS).unwrap_or_default();
    let places: Vec<Option<Position>> = patterns.iter().map(|(_, at)| *at).collect();
    let config = RetryConfig {
        max_retries: max_retries.unwrap_or(default.max_retries),
        initial_delay_seconds: initial_delay_seconds.unwrap_or(default.initial_delay_seconds),
        backoff_multiplier: backoff_multiplier.unwrap_or(default.backoff_multiplier),
        max_delay_seconds: max_delay_seconds.unwrap_or(default.max_delay_seconds),
        retryable_exit_codes: retryable_exit_codes.unwrap_or(default.retryable_exit_codes),
        retryable_error_patterns: patterns.into_iter().map(|(text, _)| text.to_owned()).collect(),
    };
    if let Err(bad) = RetryPolicy::compile(config.clone()) {
        for (at, why) in bad {
            fields
                .problem(places.get(at).copied().flatten(), &format!("`retry_config.retryable_error_patterns`: {why}"));
        }
    }
    Some(config)
}

fn exit_codes(fields: &mut Fields) -> Option<Vec<u8>> {
    let items = fields.list("retryable_exit_codes", 255)?;
    let mut codes = Vec::with_capacity(items.len());
    for item in items {
        let code = item.to_json().as_u64().and_then(|code| u8::try_from(code).ok()).filter(|code| *code > 0);
        let expected = "a list of exit codes from 1 to 255";
        codes.extend(code.or_else(|| fields.wrong("retryable_exit_codes", item, expected)));
    }
    Some(codes)
}
