//! A LangGraph agent server: claim, then look.
//!
//! Makes the requests that [`claim`] asks for and tells it what they showed. Its invariant: a run
//! is accepted only when the server says so, by a run that it returns or lists. What it promises is
//! written in docs/agents.md; which step follows from what is in `claim.rs`.

mod answers;
mod claim;
mod wording;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU8, Ordering::Relaxed},
    },
};

use reqwest::{
    Method, Url,
    header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use serde_json::Value;
use tracing::warn;
use uuid::Uuid;

use answers::{Page, Places, Strangers, Thread};
pub use claim::ClaimPolicy;
use claim::{Claim, Rules, Seen, Step, Why};

use super::{
    Answer, Class, Clock, Delivery, Failure, LangGraphSpec, Observation, Request, Ttl, classify,
    delivery::clean,
    gate::Gate,
    label,
    wire::{self, Call, Client, Headers, LIST_LIMIT, Lost, Read, Reply, TEXT_LIMIT},
};

/// The endpoint, connected.
#[derive(Debug)]
pub(super) struct LangGraph {
    client: Client,
    clock: Arc<dyn Clock>,
    spec: LangGraphSpec,
    classify: BTreeMap<u16, Class>,
    rules: Rules,
    learnt: Learnt,
}

/// What the server's answers have shown of the server, whichever delivery they were for.
#[derive(Debug, Default)]
struct Learnt {
    /// It refuses the `ttl` of a claim, and takes the claim without it.
    refuses_ttl: AtomicBool,
    /// It refuses to create a thread that exists.
    refuses_existing: AtomicBool,
    /// The places in which its lists show what is a run's own: there, marks of ours were seen.
    marked: AtomicU8,
    /// The thread of a run of ours that it accepted.
    example: Mutex<Option<Uuid>>,
}

/// The memory of one delivery in this process.
#[derive(Debug)]
pub(super) struct Memory {
    claim: Claim,
    /// One for each delivery and process: how a claim of ours is known.
    nonce: Uuid,
    /// The gate of a post whose fate no step has seen.
    post: Option<Arc<Gate>>,
}

/// What a request came to: what it showed, and the failure that it is when the attempt ends here.
type Shown = (Seen, Option<Failure>);

impl Memory {
    /// See [`Session::end`](super::Session::end).
    pub fn end(&mut self) {
        self.claim.end();
    }
}

impl LangGraph {
    pub fn new(
        client: Client,
        clock: Arc<dyn Clock>,
        agent: &super::AgentSpec,
        spec: &LangGraphSpec,
        policy: ClaimPolicy,
    ) -> Self {
        let rules = Rules::new(agent.timeout, spec.settle, policy);
        Self { client, clock, spec: spec.clone(), classify: agent.classify.clone(), rules, learnt: Learnt::default() }
    }

    pub fn memory(&self) -> Memory {
        Memory { claim: Claim::new(self.rules), nonce: Uuid::new_v4(), post: None }
    }

    pub async fn attempt(&self, memory: &mut Memory, delivery: &Delivery) -> Answer {
        if let Some(at) = memory.post.take().and_then(|gate| gate.revoke()) {
            memory.claim.dropped_post(at);
        }
        let headers = match self.headers(delivery) {
            Ok(headers) => headers,
            Err(failure) => return Answer::Failed(failure),
        };
        let attempt = Attempt { agent: self, delivery, headers };
        let mut post_failure = None;
        let mut failure = None;
        let mut step = memory.claim.begin(self.clock.now());
        loop {
            let (seen, failed) = match step {
                Step::Claim(turn) => attempt.claim(turn, memory.nonce).await,
                Step::Look => attempt.look().await,
                Step::Whose(turn) => attempt.whose(turn, memory.nonce).await,
                Step::Post { until } => {
                    let gate = Gate::new(Arc::clone(&self.clock), Some(until));
                    memory.post = Some(Arc::clone(&gate));
                    let (seen, failed) = attempt.post(gate).await;
                    memory.post = None;
                    post_failure.clone_from(&failed);
                    (seen, failed)
                }
                Step::Wait(wait) => return Answer::Wait(wait),
                Step::Accepted { run_id, found } => return Answer::Accepted { run_id, found, status: Some(200) },
                Step::Fail(Why::Over) => return Answer::Ended,
                Step::Fail(why) => {
                    let failure = match why {
                        Why::Request | Why::UnknownRun => failure,
                        Why::Post | Why::Busy => post_failure,
                        Why::Invisible => Some(own_failure(
                            "claim_invisible",
                            "the claim thread exists, and the server does not show it: it belongs to another tenant, \
                             or is deleted and made again; use a key that may read the thread",
                        )),
                        Why::Unsettled | Why::Over => None,
                    };
                    return Answer::Failed(failure.unwrap_or_else(|| {
                        own_failure("claim_unsettled", "another process that delivers this event too took over the claim during this attempt: retried")
                    }));
                }
            };
            failure = failed;
            step = memory.claim.saw(seen, self.clock.now());
        }
    }

    fn headers(&self, delivery: &Delivery) -> Result<Headers, Failure> {
        let mut headers = Headers::default();
        headers
            .add_all(&self.spec.headers)
            .and_then(|()| match &self.spec.api_key {
                Some(key) => headers.add_secret(&HeaderName::from_static("x-api-key"), key, ""),
                None => Ok(()),
            })
            .and_then(|()| self.spec.auth.as_ref().map_or(Ok(()), |auth| headers.authorize(auth)))
            .map_err(|error| own_failure("secret", &error.to_string()))?;
        headers.set_default(ACCEPT, "application/json");
        headers.set_default(ACCEPT_ENCODING, "identity");
        // What the server's own log calls the request.
        headers.set_default(HeaderName::from_static("x-request-id"), &delivery.id.to_string());
        Ok(headers)
    }
}

/// A failure that no answer names.
fn own_failure(kind: &'static str, reason: &str) -> Failure {
    Failure { class: Class::AgentFault, status: None, retry_after: None, kind, reason: clean(reason, &[]) }
}

/// The requests of one attempt.
struct Attempt<'a> {
    agent: &'a LangGraph,
    delivery: &'a Delivery,
    headers: Headers,
}

impl Attempt<'_> {
    async fn claim(&self, turn: u32, nonce: Uuid) -> Shown {
        let learnt = &self.agent.learnt;
        for second in [false, true] {
            let reply = match self.ask_for(turn, nonce).await {
                Ok(reply) => reply,
                Err(lost) if lost.observation == Observation::Connect && !second => {
                    return (Seen::Unsent, self.lost(&lost).1);
                }
                Err(lost) => return self.lost(&lost),
            };
            match reply.status {
                200..=299 => match answers::thread(&reply.body, wording::thread_id(self.delivery, turn)) {
                    // A server that does not honour `if_exists` answers with the thread that was there.
                    Some(Thread { nonce: Some(other) }) if other != nonce => return (Seen::Taken, None),
                    Some(Thread { nonce: Some(_) }) => return (Seen::Claimed, None),
                    // Nor is its answer a claim when it does not say whose the thread is: ask it once more
                    // for the thread that now exists, which a server that can be claimed on refuses.
                    Some(Thread { nonce: None }) if learnt.refuses_existing.load(Relaxed) => {
                        return (Seen::Claimed, None);
                    }
                    Some(Thread { nonce: None }) if !second => {}
                    Some(Thread { nonce: None }) => return (Seen::Failed, Some(no_claims())),
                    None => {
                        let failure = self.refusal(Request::Before, Observation::Unreadable, &reply);
                        return (Seen::Failed, Some(failure));
                    }
                },
                409 => {
                    learnt.refuses_existing.store(true, Relaxed);
                    return (if second { Seen::Claimed } else { Seen::Taken }, None);
                }
                _ => return self.failed(&reply),
            }
        }
        (Seen::Failed, None)
    }

    /// Asks for the thread of a turn, without a `ttl` where the server refuses that.
    async fn ask_for(&self, turn: u32, nonce: Uuid) -> Result<Reply, Lost> {
        let learnt = &self.agent.learnt;
        let ttl = self.agent.spec.ttl.filter(|_| !learnt.refuses_ttl.load(Relaxed));
        let refused = match self.post_claim(turn, nonce, ttl).await? {
            reply if ttl.is_some() && matches!(reply.status, 400 | 422) => reply,
            reply => return Ok(reply),
        };
        // A claim matters more than when it is deleted: is it the ttl that the server refuses?
        let reply = self.post_claim(turn, nonce, None).await?;
        if matches!(reply.status, 200..=299 | 409) && !learnt.refuses_ttl.swap(true, Relaxed) {
            let reason = clean(&answers::detail(&refused.body), &self.headers.secrets);
            warn!(
                agent = %self.delivery.agent, status = refused.status, reason,
                "the server refuses the ttl of a thread: claim threads are kept until somebody deletes them"
            );
        }
        Ok(reply)
    }

    async fn post_claim(&self, turn: u32, nonce: Uuid, ttl: Option<Ttl>) -> Result<Reply, Lost> {
        let body = wording::claim(self.delivery, turn, nonce, ttl);
        let gate = Gate::new(Arc::clone(&self.agent.clock), None);
        self.send(&["threads"], Some((&body, gate)), TEXT_LIMIT).await
    }

    async fn whose(&self, turn: u32, nonce: Uuid) -> Shown {
        let id = wording::thread_id(self.delivery, turn);
        match self.send(&["threads", &id.to_string()], None, LIST_LIMIT).await {
            Ok(reply) => match reply.status {
                200 => match answers::thread(&reply.body, id) {
                    Some(thread) => (Seen::Thread { ours: thread.nonce == Some(nonce) }, None),
                    None => (Seen::Failed, Some(self.refusal(Request::Before, Observation::Unreadable, &reply))),
                },
                404 if answers::is_no_thread(&reply.body) => (Seen::NoThread, None),
                _ => self.failed(&reply),
            },
            Err(lost) => self.lost(&lost),
        }
    }

    async fn look(&self) -> Shown {
        let thread = self.delivery.id.as_uuid();
        let (mut offset, mut first, mut strangers) = (0, None, Strangers::default());
        for _ in 0..wording::PAGES {
            let page = match self.page(thread, offset).await {
                Ok(page) => page,
                Err(shown) => return shown,
            };
            if let Some(run_id) = page.ours {
                return (Seen::Run(Some(run_id)), None);
            }
            // A server that knows no `offset` begins again; what it shows is all, unless it is a full page.
            let repeated = offset > 0 && page.first == first;
            if page.count == 0 || (repeated && page.count < wording::DEFAULT_PAGE) {
                return self.not_shown_ours(thread, &strangers).await;
            }
            if repeated {
                break;
            }
            offset += page.count;
            first = page.first;
            strangers.extend(page.strangers);
        }
        let text = format!(
            "thread {thread} holds more runs than the {offset} that were read, and none of those is this event's: delete \
             the runs that do not belong on it"
        );
        (Seen::Failed, Some(unknown_run(Class::Busy, &text)))
    }

    /// One page of the runs of a thread, the delivery's own or another.
    async fn page(&self, thread: Uuid, offset: usize) -> Result<Page, Shown> {
        let mut url = wording::at(&self.agent.spec.url, &["threads", &thread.to_string(), "runs"]);
        url.query_pairs_mut()
            .append_pair("limit", &wording::PAGE.to_string())
            .append_pair("offset", &offset.to_string())
            .append_pair("select", "run_id")
            .append_pair("select", "metadata");
        let reply = self.send_to(url, None, LIST_LIMIT, HeaderMap::new()).await.map_err(|lost| self.lost(&lost))?;
        match reply.status {
            200 => match answers::runs(&reply.body, thread, self.delivery.event.id()) {
                Some(page) => {
                    self.agent.learnt.marked.fetch_or(page.marked.bits(), Relaxed);
                    Ok(page)
                }
                None => Err((Seen::Failed, Some(self.refusal(Request::Before, Observation::Unreadable, &reply)))),
            },
            404 if answers::is_no_thread(&reply.body) => Err((Seen::NoThread, None)),
            _ => Err(self.failed(&reply)),
        }
    }

    /// Whether one of these runs may be ours although the list does not show that it is.
    async fn not_shown_ours(&self, thread: Uuid, strangers: &Strangers) -> Shown {
        let learnt = &self.agent.learnt;
        let marked = || Places::from_bits(learnt.marked.load(Relaxed));
        if strangers.maybe_ours(marked()).is_none() {
            return (Seen::NoRun, None);
        }
        // A run of ours that was accepted shows whether this server's lists show marks.
        let example = *learnt.example.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(example) = example
            && let Err(shown) = self.page(example, 0).await
        {
            return if shown.0 == Seen::NoThread { self.lost_example() } else { shown };
        }
        let Some((shows, run_id)) = strangers.maybe_ours(marked()) else { return (Seen::NoRun, None) };
        // The list may show less than the run itself.
        match self.send(&["threads", &thread.to_string(), "runs", run_id], None, LIST_LIMIT).await {
            Ok(reply) if reply.status == 200 => {
                if answers::is_ours(&reply.body, thread, self.delivery.event.id()) {
                    return (Seen::Run(Some(run_id.to_owned())), None);
                }
            }
            Ok(reply) if matches!(reply.status, 404 | 405) => {}
            Ok(reply) => return self.failed(&reply),
            Err(lost) => return self.lost(&lost),
        }
        let (class, advice) = if shows.is_empty() {
            (Class::EventFault, "the server shows neither its metadata nor its config nor its input")
        } else {
            (Class::Busy, "it is decided once this server has accepted and listed another run of the bridge")
        };
        let text = format!(
            "run {run_id} on the event's own thread {thread} may or may not be this event's, so no other is created: \
             {advice}; look at the run, and publish the event again under a new event_id only if it is not its own"
        );
        (Seen::UnknownRun, Some(unknown_run(class, &text)))
    }

    /// The example's thread was deleted.
    fn lost_example(&self) -> Shown {
        *self.agent.learnt.example.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let text = "the run that showed what this server lists was deleted: retried with the next accepted run";
        (Seen::Failed, Some(unknown_run(Class::Busy, text)))
    }

    async fn post(&self, gate: Arc<Gate>) -> Shown {
        let thread = self.delivery.id.as_uuid();
        let body = wording::run(self.delivery, &self.agent.spec);
        let path = ["threads", &thread.to_string(), "runs"];
        let url = wording::at(&self.agent.spec.url, &path);
        let answer = self.send_to(url, Some((&body, Arc::clone(&gate))), TEXT_LIMIT, self.trace()).await;
        let late = answer.is_err() && gate.too_late();
        let at = gate.revoke();
        let (observation, mut failure) = match answer {
            Ok(reply) => {
                let observation = match reply.status {
                    200..=299 => match answers::created(&reply.body, thread) {
                        Some(run_id) => {
                            let example = &self.agent.learnt.example;
                            *example.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
                            return (Seen::Posted(Some(run_id)), None);
                        }
                        None => Observation::Unreadable,
                    },
                    422 if answers::is_busy(&answers::detail(&reply.body)) => Observation::Status(409),
                    404 | 422 if answers::is_unknown_assistant(&answers::detail(&reply.body)) => {
                        Observation::UnknownAssistant
                    }
                    status => Observation::Status(status),
                };
                (observation, self.refusal(Request::Run, observation, &reply))
            }
            Err(_) if late => return (Seen::TooLate, None),
            Err(lost) => (lost.observation, self.no_answer(Request::Run, &lost)),
        };
        let seen = match (observation, at) {
            (Observation::Status(409), _) => Seen::Conflict,
            // The common table, not the agent's words for it, says whether a run may exist.
            (observation, Some(at)) if classify(Request::Run, observation, &BTreeMap::new()) == Class::Ambiguous => {
                Seen::Unknown { at }
            }
            _ => Seen::Refused,
        };
        if matches!(seen, Seen::Unknown { .. }) {
            // Whatever the agent calls this answer: the run may exist, so it is no refusal of the event.
            failure.class = Class::Ambiguous;
        }
        (seen, Some(failure))
    }

    async fn send(&self, path: &[&str], body: Option<(&Value, Arc<Gate>)>, limit: usize) -> Result<Reply, Lost> {
        self.send_to(wording::at(&self.agent.spec.url, path), body, limit, HeaderMap::new()).await
    }

    /// The trace, for the run alone: a claim must not fail for it.
    fn trace(&self) -> HeaderMap {
        let headers = self.delivery.trace.headers();
        headers.filter_map(|(name, value)| Some((HeaderName::from_static(name), value.parse().ok()?))).collect()
    }

    async fn send_to(
        &self,
        url: Url,
        body: Option<(&Value, Arc<Gate>)>,
        limit: usize,
        more: HeaderMap,
    ) -> Result<Reply, Lost> {
        let mut headers = self.headers.map.clone();
        headers.extend(more);
        let method = if body.is_some() { Method::POST } else { Method::GET };
        if body.is_some() {
            headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
        }
        let body = body.map(|(value, gate)| (value.to_string().into(), gate));
        wire::send(&self.agent.client, Call { method, url, headers, body, read: Read::Whole(limit) }).await
    }

    fn failed(&self, reply: &Reply) -> Shown {
        (Seen::Failed, Some(self.refusal(Request::Before, Observation::Status(reply.status), reply)))
    }

    fn lost(&self, lost: &Lost) -> Shown {
        (Seen::Failed, Some(self.no_answer(Request::Before, lost)))
    }

    fn refusal(&self, request: Request, observation: Observation, reply: &Reply) -> Failure {
        let expected = match observation {
            Observation::Unreadable => "which is no answer of a LangGraph server",
            Observation::UnknownAssistant => "so the routing file names an assistant that the server lacks",
            _ => "which refuses it",
        };
        let detail = answers::detail(&reply.body);
        let reason = format!("{} {}, {expected}: {detail}", reply.asked, reply.answered());
        Failure {
            class: classify(request, observation, &self.agent.classify),
            status: Some(reply.status),
            retry_after: reply.retry_after,
            kind: label(observation),
            reason: clean(&reason, &self.headers.secrets),
        }
    }

    fn no_answer(&self, request: Request, lost: &Lost) -> Failure {
        Failure {
            class: classify(request, lost.observation, &self.agent.classify),
            status: None,
            retry_after: None,
            kind: label(lost.observation),
            reason: clean(&format!("{} was not answered: {}", lost.asked, lost.text), &self.headers.secrets),
        }
    }
}

/// One delivery's trouble with what is on its thread: the agent is well.
fn unknown_run(class: Class, reason: &str) -> Failure {
    Failure { class, ..own_failure("unknown_run", reason) }
}

/// What is said of a server on which nothing can be claimed.
fn no_claims() -> Failure {
    own_failure(
        "claim_invisible",
        "the server neither refuses POST /threads for a thread that exists nor returns its metadata.nonce, so two processes \
         could not tell which of them created it, and both would run the event: use a server that honours \
         `if_exists: raise`, or one that shows the metadata of a thread",
    )
}

#[cfg(test)]
mod tests;
