//! A limiter for tests.

use super::*;
use crate::agents::{Endpoint, HttpSpec, Rate, RetrySpec};

impl AgentLimiter {
    /// The settings that it goes by.
    pub(in crate::pipeline) fn spec(&self) -> Arc<AgentSpec> {
        Arc::clone(&self.spec.borrow())
    }
}

/// Of an agent `a`.
pub(in crate::pipeline) fn limiter(concurrency: usize, rate: Option<Rate>) -> AgentLimiter {
    AgentLimiter::new(&Arc::new(AgentSpec {
        name: "a".into(),
        endpoint: Endpoint::Http(HttpSpec {
            url: reqwest::Url::parse("http://127.0.0.1:1/").unwrap(),
            server: None,
            method: reqwest::Method::POST,
            headers: Vec::new(),
            auth: None,
            tls: None,
            sign: None,
        }),
        concurrency,
        rate,
        timeout: Duration::from_secs(1),
        retry: RetrySpec {
            initial: Duration::from_millis(100),
            max: Duration::from_secs(1),
            give_up_after: Duration::from_secs(60),
            max_attempts: None,
        },
        classify: std::collections::BTreeMap::new(),
    }))
}
