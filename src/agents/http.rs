//! Any HTTP endpoint: at least once, with a key by which the receiver recognizes a repetition.
//!
//! Its invariant: every attempt of a delivery, in every process, carries the same `Idempotency-Key`
//! and `webhook-id`. It keeps no state between attempts. `classify.rs` says what
//! its answers mean.

use std::{collections::BTreeMap, sync::Arc};

use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderValue};

use super::{
    AgentSpec, Answer, Class, Clock, Delivery, Failure, FailureKind, HttpSpec, Observation, Request, classify,
    delivery::request_body,
    failure::{clean, excerpt},
    gate::Gate,
    headers::{CommonHeaders, Headers},
    sign::signature,
    wire::{self, Call, Client, Read, Target},
};

/// The endpoint, connected.
#[derive(Debug)]
pub(super) struct Http {
    client: Client,
    clock: Arc<dyn Clock>,
    spec: HttpSpec,
    to: Arc<Target>,
    headers: CommonHeaders<HttpSpec>,
    classify: BTreeMap<u16, Class>,
}

impl Http {
    pub(super) fn new(client: Client, clock: Arc<dyn Clock>, agent: &AgentSpec, spec: &HttpSpec) -> Self {
        let (to, headers) = (Target::new(spec.url.clone()), CommonHeaders::new(spec, common));
        Self { client, clock, spec: spec.clone(), to, headers, classify: agent.classify.clone() }
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
            to: Arc::clone(&self.to),
            headers: headers.map,
            body: Some((body, gate)),
            read: Read::OnRefusal,
        };
        let reply = wire::send(&self.client, call).await;
        let (observation, status, retry_after) = match &reply {
            Ok(reply) => (Observation::Status(reply.status), Some(reply.status), reply.retry_after),
            Err(lost) => (lost.observation, None, None),
        };
        let class = classify(Request::Http, observation, &self.classify);
        if class == Class::Accepted {
            return Answer::Accepted { run_id: None, found: false, status };
        }
        let text = match reply {
            Ok(reply) => format!("{} {}: {}", reply.asked, reply.answered(), excerpt(&reply.body)),
            Err(lost) => format!("{} was not answered: {}", lost.asked, lost.text),
        };
        let reason = clean(&text, &secrets);
        Answer::Failed(Failure { class, status, retry_after, kind: FailureKind::Observed(observation), reason })
    }

    fn headers(&self, delivery: &Delivery, body: &[u8], now: i64) -> Result<Headers, String> {
        let mut headers = self.headers.get(&self.spec)?;
        let id = delivery.id.to_string();
        let value = HeaderValue::from_str(&id).map_err(|error| error.to_string())?;
        headers.map.insert("idempotency-key", value.clone());
        headers.map.insert("webhook-id", value.clone());
        headers.map.entry("x-request-id").or_insert(value);
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

/// The headers of every request to the endpoint.
fn common(spec: &HttpSpec) -> Result<Headers, String> {
    let mut headers = Headers::default();
    headers.add_all(&spec.headers).map_err(|error| error.to_string())?;
    if let Some(auth) = &spec.auth {
        headers.authorize(auth).map_err(|error| error.to_string())?;
    }
    headers.set_default(CONTENT_TYPE, "application/json");
    headers.set_default(ACCEPT, "*/*");
    headers.set_default(ACCEPT_ENCODING, "identity");
    headers.hide_query(&spec.url);
    Ok(headers)
}

#[cfg(test)]
mod tests;
