//! Black-box tests: a real Apache Kafka, a real LangGraph server, and faults.

#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on says why and ends")]

#[allow(dead_code, unused_imports, reason = "the kit serves tests that come and go")]
mod kit;

mod docker;
mod kit_works;
