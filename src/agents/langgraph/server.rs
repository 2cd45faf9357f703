//! The connection to one LangGraph server: how requests are sent, and what a failed one means.
//!
//! Owns what the server's responses have shown of the server. It does not know which request comes when.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering::Relaxed},
    },
};

use reqwest::{
    Method, Url,
    header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use serde_json::Value;
use uuid::Uuid;

use super::{api, claim::Observed, response, run_list::MarkFields};
use crate::{
    agents::{
        Class, Clock, Delivery, Failure, FailureKind, LangGraphSpec, Observation, Request, classify,
        failure::clean,
        gate::Gate,
        headers::{CommonHeaders, Headers},
        wire::{self, Call, Client, NoAnswer, Read, Reply, Target},
    },
    sync::Mutex,
};

/// The endpoint, connected.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) client: Client,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) spec: LangGraphSpec,
    pub(super) headers: CommonHeaders<LangGraphSpec>,
    pub(super) classify: BTreeMap<u16, Class>,
    pub(super) traits: ServerTraits,
}

/// What the responses to all deliveries have shown of the server.
#[derive(Debug, Default)]
pub(super) struct ServerTraits {
    /// It refuses the `ttl` of a claim, and accepts the claim without it.
    pub(super) refuses_ttl: AtomicBool,
    /// It refuses to create a thread that exists.
    pub(super) refuses_existing: AtomicBool,
    /// The fields of a listed run in which a mark of ours was seen.
    mark_fields: AtomicU8,
    /// The thread of an accepted run of ours: its list shows whether this server lists marks.
    pub(super) example: Mutex<Option<Uuid>>,
}

impl ServerTraits {
    pub(super) fn mark_fields(&self) -> MarkFields {
        MarkFields::from_bits(self.mark_fields.load(Relaxed))
    }

    pub(super) fn add_mark_fields(&self, fields: MarkFields) {
        self.mark_fields.fetch_or(fields.bits(), Relaxed);
    }
}

/// What a request showed, and the failure that it is if the attempt ends here.
pub(super) type StepResult = (Observed, Option<Failure>);

/// The requests of one attempt.
pub(super) struct Requests<'a> {
    pub(super) server: &'a Server,
    pub(super) delivery: &'a Delivery,
    headers: Headers,
}

impl<'a> Requests<'a> {
    pub(super) fn new(server: &'a Server, delivery: &'a Delivery) -> Result<Self, Failure> {
        Ok(Self { server, delivery, headers: headers(server, delivery)? })
    }

    /// Sends a request to a path below the server's URL: POST if there is a body.
    pub(super) async fn send(
        &self,
        path: &[&str],
        body: Option<(&Value, Arc<Gate>)>,
        limit: usize,
    ) -> Result<Reply, NoAnswer> {
        self.send_to(api::url(&self.server.spec.url, path), body, limit, HeaderMap::new()).await
    }

    pub(super) async fn send_to(
        &self,
        url: Url,
        body: Option<(&Value, Arc<Gate>)>,
        limit: usize,
        more: HeaderMap,
    ) -> Result<Reply, NoAnswer> {
        let mut headers = self.headers.map.clone();
        headers.extend(more);
        let method = if body.is_some() { Method::POST } else { Method::GET };
        if body.is_some() {
            headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
        }
        let body = body.map(|(value, gate)| (value.to_string().into(), gate));
        wire::send(&self.server.client, Call { method, to: Target::new(url), headers, body, read: Read::Whole(limit) })
            .await
    }

    /// A text of the server without the secrets of the request.
    pub(super) fn clean(&self, text: &str) -> String {
        clean(text, &self.headers.secrets)
    }

    /// A response of another status than the step expects.
    pub(super) fn failed(&self, reply: &Reply) -> StepResult {
        (Observed::Failed, Some(self.refusal(Request::BeforeRun, Observation::Status(reply.status), reply)))
    }

    /// A response of the expected status whose body is not that of a LangGraph server.
    pub(super) fn unreadable(&self, reply: &Reply) -> StepResult {
        (Observed::Failed, Some(self.refusal(Request::BeforeRun, Observation::Unreadable, reply)))
    }

    pub(super) fn lost(&self, lost: &NoAnswer) -> StepResult {
        (Observed::Failed, Some(self.no_answer(Request::BeforeRun, lost)))
    }

    pub(super) fn refusal(&self, request: Request, observation: Observation, reply: &Reply) -> Failure {
        let expected = match observation {
            Observation::Unreadable => "a response of a LangGraph server: check `url`",
            Observation::UnknownAssistant => "an assistant that the server knows: correct `assistant`",
            Observation::Status(401 | 403) => "2xx: check `api_key` or `auth`",
            Observation::Status(404 | 405) => "2xx: check `url` and `assistant`",
            _ => "2xx",
        };
        let detail = response::detail(&reply.body);
        let reason = format!("{} {} (expected {expected}): {detail}", reply.asked, reply.answered());
        Failure {
            class: classify(request, observation, &self.server.classify),
            status: Some(reply.status),
            retry_after: reply.retry_after,
            kind: FailureKind::Observed(observation),
            reason: self.clean(&reason),
        }
    }

    pub(super) fn no_answer(&self, request: Request, lost: &NoAnswer) -> Failure {
        Failure {
            class: classify(request, lost.observation, &self.server.classify),
            status: None,
            retry_after: None,
            kind: FailureKind::Observed(lost.observation),
            reason: self.clean(&format!("{} was not answered: {}", lost.asked, lost.text)),
        }
    }
}

fn headers(server: &Server, delivery: &Delivery) -> Result<Headers, Failure> {
    let headers = server.headers.get(&server.spec);
    let mut headers = headers.map_err(|error| Failure::of_agent(Observation::Secret, &error))?;
    // The server's own log shows it as the request's id.
    headers.set_default(HeaderName::from_static("x-request-id"), &delivery.id.to_string());
    Ok(headers)
}

/// The headers of every request to the server: those of the routing file, the keys, and which answers are understood.
pub(in crate::agents) fn authorized(spec: &LangGraphSpec) -> Result<Headers, String> {
    let mut headers = Headers::default();
    headers
        .add_all(&spec.headers)
        .and_then(|()| match &spec.api_key {
            Some(key) => headers.add_secret(&HeaderName::from_static("x-api-key"), key, ""),
            None => Ok(()),
        })
        .and_then(|()| spec.auth.as_ref().map_or(Ok(()), |auth| headers.authorize(auth)))
        .map_err(|error| error.to_string())?;
    headers.set_default(ACCEPT, "application/json");
    headers.set_default(ACCEPT_ENCODING, "identity");
    Ok(headers)
}
