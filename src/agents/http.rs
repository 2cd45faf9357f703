//! Any HTTP endpoint: at least once, with a key by which the receiver recognizes a repetition.
//!
//! Its invariant: every attempt of a delivery, in every process, carries the same `Idempotency-Key`
//! and `webhook-id`. It keeps no state between attempts. `classify.rs` says what
//! its answers mean.

use std::{collections::BTreeMap, sync::Arc};

use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderName};

use super::{
    AgentSpec, Answer, Class, Clock, Delivery, Failure, FailureKind, HttpSpec, Observation, Request, classify,
    delivery::request_body,
    failure::{clean, excerpt},
    gate::Gate,
    headers::Headers,
    sign::signature,
    wire::{self, Call, Client, Read},
};

/// The endpoint, connected.
#[derive(Debug)]
pub(super) struct Http {
    client: Client,
    clock: Arc<dyn Clock>,
    spec: HttpSpec,
    classify: BTreeMap<u16, Class>,
}

impl Http {
    pub(super) fn new(client: Client, clock: Arc<dyn Clock>, agent: &AgentSpec, spec: &HttpSpec) -> Self {
        Self { client, clock, spec: spec.clone(), classify: agent.classify.clone() }
    }

    pub(super) async fn attempt(&self, delivery: &Delivery) -> Answer {
        let body = request_body(delivery.body.as_ref(), &delivery.raw);
        let headers = match self.headers(delivery, &body, jiff::Timestamp::now().as_second()) {
            Ok(headers) => headers,
            Err(reason) => return Answer::Failed(Failure::of_agent(Observation::Secret, &reason)),
        };
        let secrets = headers.secrets;
        let gate = Gate::new(Arc::clone(&self.clock), None);
        let call = Call {
            method: self.spec.method.clone(),
            url: self.spec.url.clone(),
            headers: headers.map,
            body: Some((body, gate)),
            read: Read::OnRefusal,
        };
        let (observation, status, retry_after, text) = match wire::send(&self.client, call).await {
            Ok(reply) => {
                let text = format!("{} {}: {}", reply.asked, reply.answered(), excerpt(&reply.body));
                (Observation::Status(reply.status), Some(reply.status), reply.retry_after, text)
            }
            Err(lost) => (lost.observation, None, None, format!("{} was not answered: {}", lost.asked, lost.text)),
        };
        let class = classify(Request::Http, observation, &self.classify);
        if class == Class::Accepted {
            return Answer::Accepted { run_id: None, found: false, status };
        }
        let reason = clean(&text, &secrets);
        Answer::Failed(Failure { class, status, retry_after, kind: FailureKind::Observed(observation), reason })
    }

    fn headers(&self, delivery: &Delivery, body: &[u8], now: i64) -> Result<Headers, String> {
        let mut headers = Headers::default();
        headers.add_all(&self.spec.headers).map_err(|error| error.to_string())?;
        if let Some(auth) = &self.spec.auth {
            headers.authorize(auth).map_err(|error| error.to_string())?;
        }
        headers.set_default(CONTENT_TYPE, "application/json");
        headers.set_default(ACCEPT, "*/*");
        headers.set_default(ACCEPT_ENCODING, "identity");
        headers.hide_query(&self.spec.url);
        let id = delivery.id.to_string();
        headers.set("idempotency-key", &id);
        headers.set("webhook-id", &id);
        headers.set_default(HeaderName::from_static("x-request-id"), &id);
        for (name, value) in delivery.trace.headers() {
            headers.set(name, value);
        }
        if let Some(secret) = &self.spec.sign {
            let secret = secret.reveal().map_err(|error| error.to_string())?;
            let signed = signature(&secret, &id, now, body).map_err(|error| error.to_string())?;
            headers.set("webhook-timestamp", &now.to_string());
            headers.set("webhook-signature", &signed);
            headers.secrets.push(secret);
        }
        Ok(headers)
    }
}

#[cfg(test)]
mod tests;
