//! What a large folder takes.

use std::fmt::Write as _;

use super::{
    child::{is_child, memory},
    load,
};

const NAME: &str = "routing::tests::large::a_rule_takes_few_kib_while_it_is_loaded";

/// A fifth of what a folder may have.
const RULES: u64 = 20_000;
/// A hundred thousand in 500 MB.
const BYTES_OF_A_RULE: u64 = 5_000;

/// Rules of every kind, whose bodies have one text in common.
fn folder() -> String {
    let mut yaml = "agents: {a: {http: {url: 'http://h/'}}}\nrules:\n".to_owned();
    for n in 0..RULES {
        let when = match n % 4 {
            0 => format!("workflow_id: [etl-{n}], payload: {{data: {{status: [success]}}}}"),
            1 => format!("workflow_id: [{{prefix: 'etl-{n}-'}}]"),
            2 => format!("workflow_id: [{{equals-ignore-case: 'Nightly-Etl-{n}'}}]"),
            _ => format!("payload: {{data: {{rows: [{{numeric: ['>=', {n}, '<', {}]}}]}}}}", n + 10),
        };
        let body = "{id: '{{ event_id }}', run: 'Run {{ workflow_run_id }}'}";
        let _ = writeln!(
            yaml,
            "  - {{name: r{n}, when: {{event_type: [WORKFLOW_COMPLETED], {when}}}, to: [a], body: {body}}}"
        );
    }
    yaml
}

#[test]
fn a_rule_takes_few_kib_while_it_is_loaded() {
    if !is_child(NAME, "bytes for each rule") {
        return;
    }
    let yaml = folder();
    let before = memory("VmRSS");
    let routing = load(&yaml);
    let taken = memory("VmHWM").saturating_sub(before);
    assert_eq!(routing.rules().count() as u64, RULES);
    assert!(taken > RULES, "{taken} bytes for {RULES} rules");
    assert!(taken < RULES * BYTES_OF_A_RULE, "{} bytes for each rule", taken / RULES);
    println!("{} bytes for each rule", taken / RULES);
}
