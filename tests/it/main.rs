//! Black-box tests: a real Apache Kafka, a real LangGraph server, and faults.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test that cannot go on says why and ends; figures are printed"
)]
#![expect(clippy::float_cmp, reason = "metrics count in whole numbers")]

#[allow(dead_code, unused_imports, reason = "the kit serves tests that come and go")]
mod kit;

mod admin;
mod check_connect;
mod check_output;
mod cli;
mod cli_publish;
mod consumer;
mod dead_letters;
mod dialects;
mod docker;
mod event_pages;
mod expiry;
mod explain;
mod faults;
mod foreign_handlers;
mod handlers;
mod http_delivery;
mod idle;
mod kit_works;
mod langgraph_once;
mod langgraph_requests;
mod ledger;
mod ledger_refill;
mod ledger_topic;
mod memory;
mod other_servers;
mod outcomes;
mod ownership;
mod parked_ends;
mod parking;
mod poison;
mod publish;
mod questions;
mod readme;
mod reload;
mod replay_deliver;
mod replicas;
mod restart;
mod rule_tests;
#[path = "../faults/mod.rs"]
mod seeded_faults;
mod spool;
mod stall;
mod templates;
