//! Events and rules, for what is counted and what is timed.

use std::{fmt::Write as _, fs, io};

/// Events of about 700 bytes, of the 20 workflows that the first 20 of [`rules`] name.
pub(crate) fn events(count: usize) -> Vec<Vec<u8>> {
    let note = "x".repeat(330);
    (0..count)
        .map(|n| {
            let team = n % 20;
            format!(
                r#"{{"event_id": "0192-{n:012}", "event_type": "WORKFLOW_COMPLETED", "timestamp": "2026-01-31T12:00:00Z", "source": "AIRFLOW", "workflow_id": "team-{team}-load", "workflow_run_id": "scheduled__2026-01-31T{n:06}", "payload": {{"data": {{"status": "success", "rows": {n}, "note": "{note}"}}}}, "metadata": {{"environment": "prod", "version": "1.0"}}}}"#
            )
            .into_bytes()
        })
        .collect()
}

/// Rules of one agent, each for a workflow of its own: half of them name a workflow, half the beginning of its name.
pub(crate) fn rules(count: usize) -> String {
    let mut rules = "agents:\n  audit: {http: {url: 'http://127.0.0.1:9/events'}}\nrules:\n".to_owned();
    for n in 0..count {
        let workflow = if n % 2 == 0 { format!("team-{n}-load") } else { format!("{{prefix: team-{n}-}}") };
        let when = format!(
            "{{event_type: [WORKFLOW_COMPLETED], workflow_id: [{workflow}], payload: {{data: {{status: [success]}}}}}}"
        );
        let _ = writeln!(rules, "  - {{name: r{n:05}, when: {when}, to: [audit]}}");
    }
    rules
}

/// A folder whose `routing/` holds these rules.
pub(crate) fn folder_with(rules: &str) -> Result<tempfile::TempDir, String> {
    let made = || {
        let folder = tempfile::tempdir()?;
        fs::create_dir(folder.path().join("routing"))?;
        fs::write(folder.path().join("routing/rules.yaml"), rules)?;
        Ok(folder)
    };
    made().map_err(|error: io::Error| format!("a folder for the rules: {error}"))
}
