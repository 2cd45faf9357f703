//! The requests of an attempt, against the sample agent and a scripted server.

mod claims;
mod creating;
mod finding;

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::super::testing::*;
use crate::demo::testing::{SampleAgent, SampleOptions};

async fn sample(options: SampleOptions) -> SampleAgent {
    SampleAgent::start((Ipv4Addr::LOCALHOST, 0).into(), options).await.unwrap()
}

fn asked(sample: &SampleAgent) -> Vec<String> {
    let kind = |path: &str| match path.split('?').next().unwrap_or("").split('/').skip(1).collect::<Vec<_>>()[..] {
        ["threads"] => "claim",
        ["threads", _] => "owner",
        ["threads", _, "runs"] => "runs",
        _ => "other",
    };
    sample.requests().iter().map(|r| format!("{} {} {}", r.method, kind(&r.path), r.status)).collect()
}

fn grants(heard: &ReceivedRequest) -> Act {
    let body: Value = serde_json::from_slice(&heard.body).unwrap_or_default();
    if heard.line == "POST /threads" {
        return Act::json(200, &json!({"thread_id": body["thread_id"], "metadata": body["metadata"]}));
    }
    Act::json(200, &json!({"run_id": "ours"}))
}
