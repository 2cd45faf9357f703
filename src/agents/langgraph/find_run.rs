//! The requests that find the delivery's run among those on its thread.
//!
//! Its invariant: "no run" is reported only if the whole list was read and no run in it can be the delivery's.

use reqwest::header::HeaderMap;
use uuid::Uuid;

use super::{
    api,
    claim::Observed,
    response,
    run_list::{self, OtherRuns, RunPage},
    server::{Requests, StepResult},
};
use crate::agents::{Class, Failure, wire::LIST_LIMIT};

/// Lists the runs on the delivery's thread, page by page.
pub(super) async fn find_run(requests: &Requests<'_>) -> StepResult {
    let thread = requests.delivery.id.as_uuid();
    let (mut offset, mut first, mut others) = (0, None, OtherRuns::default());
    for _ in 0..api::MAX_PAGES {
        let page = match list_runs(requests, thread, offset).await {
            Ok(page) => page,
            Err(result) => return result,
        };
        if let Some(run_id) = page.ours {
            return (Observed::Run(Some(run_id)), None);
        }
        // A server that ignores `offset` returns the first page again. Then it is the whole list, unless it is as
        // long as a server's default page.
        let repeated = offset > 0 && page.first == first;
        if page.count == 0 || (repeated && page.count < api::DEFAULT_PAGE_SIZE) {
            return check_others(requests, thread, &others).await;
        }
        if repeated {
            break;
        }
        offset += page.count;
        first = page.first;
        others.extend(page.others);
    }
    let text = format!(
        "thread {thread} has more runs than the {offset} that were read, and none of those is this event's: delete \
         the runs that do not belong on it"
    );
    (Observed::Failed, Some(unknown_run(Class::Busy, &text)))
}

/// One page of the runs of a thread, the delivery's own or another.
async fn list_runs(requests: &Requests<'_>, thread: Uuid, offset: usize) -> Result<RunPage, StepResult> {
    let mut url = api::url(&requests.server.spec.url, &["threads", &thread.to_string(), "runs"]);
    url.query_pairs_mut()
        .append_pair("limit", &api::PAGE_SIZE.to_string())
        .append_pair("offset", &offset.to_string())
        .append_pair("select", "run_id")
        .append_pair("select", "metadata");
    let reply = requests.send_to(url, None, LIST_LIMIT, HeaderMap::new()).await.map_err(|lost| requests.lost(&lost))?;
    match reply.status {
        200 => match run_list::page(&reply.body, thread, requests.delivery.event.id()) {
            Some(page) => {
                requests.server.traits.add_mark_fields(page.mark_fields);
                Ok(page)
            }
            None => Err(requests.unreadable(&reply)),
        },
        404 if response::is_no_thread(&reply.body) => Err((Observed::NoThread, None)),
        _ => Err(requests.failed(&reply)),
    }
}

/// Whether one of these runs may be ours although the list does not show that it is.
async fn check_others(requests: &Requests<'_>, thread: Uuid, others: &OtherRuns) -> StepResult {
    let traits = &requests.server.traits;
    if others.maybe_ours(traits.mark_fields()).is_none() {
        return (Observed::NoRun, None);
    }
    // The list of an accepted run of ours shows whether this server lists marks.
    let example = *traits.example.lock();
    if let Some(example) = example
        && let Err(result) = list_runs(requests, example, 0).await
    {
        return if result.0 == Observed::NoThread { example_deleted(requests) } else { result };
    }
    let Some((fields, run_id)) = others.maybe_ours(traits.mark_fields()) else { return (Observed::NoRun, None) };
    // The list may show less than the run itself.
    match requests.send(&["threads", &thread.to_string(), "runs", run_id], None, LIST_LIMIT).await {
        Ok(reply) if reply.status == 200 => {
            if run_list::is_ours(&reply.body, thread, requests.delivery.event.id()) {
                return (Observed::Run(Some(run_id.to_owned())), None);
            }
        }
        Ok(reply) if matches!(reply.status, 404 | 405) => {}
        Ok(reply) => return requests.failed(&reply),
        Err(lost) => return requests.lost(&lost),
    }
    let (class, advice) = if fields.is_empty() {
        (Class::EventFault, "the server shows neither its metadata nor its config nor its input")
    } else {
        (Class::Busy, "it is decided once this server has accepted and listed another run of the bridge")
    };
    let text = format!(
        "run {run_id} on the event's own thread {thread} may or may not be this event's, so no other is created: \
         {advice}; look at the run, and publish the event again under a new event_id only if it is not its own"
    );
    (Observed::UnknownRun, Some(unknown_run(class, &text)))
}

/// The thread of the example was deleted.
fn example_deleted(requests: &Requests<'_>) -> StepResult {
    *requests.server.traits.example.lock() = None;
    let text = "the run that showed what this server lists was deleted: retried with the next accepted run";
    (Observed::Failed, Some(unknown_run(Class::Busy, text)))
}

/// Only this delivery is affected, by what is on its thread: the agent works.
fn unknown_run(class: Class, reason: &str) -> Failure {
    Failure::unknown_run(class, reason)
}
