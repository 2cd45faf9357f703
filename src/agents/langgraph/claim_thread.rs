//! The requests that claim the thread of a round, and that read who owns it.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use tracing::warn;
use uuid::Uuid;

use super::{
    api,
    claim::Observed,
    response::{self, Thread},
    server::{Requests, StepResult},
};
use crate::agents::{
    Failure, Observation, Ttl,
    gate::Gate,
    wire::{LIST_LIMIT, NoAnswer, Reply, TEXT_LIMIT},
};

/// Creates the thread of a round.
pub(super) async fn claim(requests: &Requests<'_>, round: u32, nonce: Uuid) -> StepResult {
    let traits = &requests.server.traits;
    for repeated in [false, true] {
        let reply = match create_thread(requests, round, nonce).await {
            Ok(reply) => reply,
            Err(lost) if lost.observation == Observation::Connect && !repeated => {
                return (Observed::Unsent, requests.lost(&lost).1);
            }
            Err(lost) => return requests.lost(&lost),
        };
        match reply.status {
            200..=299 => match response::thread(&reply.body, api::thread_id(requests.delivery, round)) {
                // A server that ignores `if_exists` answers with the thread that was there.
                Some(Thread { nonce: Some(other) }) if other != nonce => return (Observed::Taken, None),
                Some(Thread { nonce: Some(_) }) => return (Observed::Claimed, None),
                // Nor is a 2xx a claim if it does not show the thread's nonce. Then the request is repeated once: a
                // server on which threads can be claimed refuses it, because the thread exists now.
                Some(Thread { nonce: None }) if traits.refuses_existing.load(Relaxed) => {
                    return (Observed::Claimed, None);
                }
                Some(Thread { nonce: None }) if !repeated => {}
                Some(Thread { nonce: None }) => return (Observed::Failed, Some(no_claims())),
                None => return requests.unreadable(&reply),
            },
            409 => {
                traits.refuses_existing.store(true, Relaxed);
                return (if repeated { Observed::Claimed } else { Observed::Taken }, None);
            }
            _ => return requests.failed(&reply),
        }
    }
    (Observed::Failed, None)
}

/// Sends the claim, without its `ttl` if the server refuses that.
async fn create_thread(requests: &Requests<'_>, round: u32, nonce: Uuid) -> Result<Reply, NoAnswer> {
    let traits = &requests.server.traits;
    let ttl = requests.server.spec.ttl.filter(|_| !traits.refuses_ttl.load(Relaxed));
    let refused = match post_claim(requests, round, nonce, ttl).await? {
        reply if ttl.is_some() && matches!(reply.status, 400 | 422) => reply,
        reply => return Ok(reply),
    };
    // The claim matters more than its ttl. Whether the ttl was refused shows only without it.
    let reply = post_claim(requests, round, nonce, None).await?;
    if matches!(reply.status, 200..=299 | 409) && !traits.refuses_ttl.swap(true, Relaxed) {
        let error = requests.clean(&response::detail(&refused.body));
        warn!(
            agent = %requests.delivery.agent, status = refused.status, error,
            "the server refuses the ttl of a thread: claim threads are kept until somebody deletes them"
        );
    }
    Ok(reply)
}

async fn post_claim(requests: &Requests<'_>, round: u32, nonce: Uuid, ttl: Option<Ttl>) -> Result<Reply, NoAnswer> {
    let body = api::claim(requests.delivery, round, nonce, ttl);
    let gate = Gate::new(Arc::clone(&requests.server.clock), None);
    requests.send(&["threads"], Some((&body, gate)), TEXT_LIMIT).await
}

/// Reads whose nonce the thread of a round has.
pub(super) async fn read_owner(requests: &Requests<'_>, round: u32, nonce: Uuid) -> StepResult {
    let id = api::thread_id(requests.delivery, round);
    match requests.send(&["threads", &id.to_string()], None, LIST_LIMIT).await {
        Ok(reply) => match reply.status {
            200 => match response::thread(&reply.body, id) {
                Some(thread) => (Observed::Owner { ours: thread.nonce == Some(nonce) }, None),
                None => requests.unreadable(&reply),
            },
            404 if response::is_no_thread(&reply.body) => (Observed::NoThread, None),
            _ => requests.failed(&reply),
        },
        Err(lost) => requests.lost(&lost),
    }
}

/// The failure on a server that cannot be claimed on.
fn no_claims() -> Failure {
    Failure::of_agent(
        Observation::ClaimInvisible,
        "the server neither refuses POST /threads for a thread that exists nor returns its metadata.nonce, so two processes \
         could not tell which of them created it, and both would run the event: use a server that honours \
         `if_exists: raise`, or one that shows the metadata of a thread",
    )
}
