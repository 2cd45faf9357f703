//! Requests of events that were to be sent as they were published, for agents that need more of them by now: other rules came
//! into force while the event waited, or another process planned more.
//!
//! Its invariant: a document that is decoded here lives no longer than one job of the renderer. It does not know the agents'
//! requests beyond their bodies.

use std::sync::Arc;

use serde_json::Value;

use super::{cause::Cause, context::PipelineContext, event_state::EventState, render::RenderFailed, rules::Planned};
use crate::{
    agents::{RunSettings, run_input},
    event::{Event, Raw},
};

/// Whether the event has to be decoded for this delivery. A handler decodes it itself, if it asks for more.
pub(super) fn is_needed(event: &Event, Planned { plan, rule, runtime, .. }: &Planned) -> bool {
    !event.is_decoded() && !runtime.is_handler() && plan.reads_document(rule, &runtime.spec.name)
}

/// Decodes the event and renders what the agent gets of it. The body of a LangGraph run is built here too.
pub(super) async fn render(
    context: &PipelineContext,
    state: &EventState,
    Planned { plan, rule, runtime, .. }: &Planned,
) -> Result<(Option<Value>, RunSettings), Cause> {
    let (text, limits) = (state.received.text(), context.limits);
    let (plan, rule, agent) = (Arc::clone(plan), Arc::clone(rule), Arc::clone(&runtime.spec.name));
    let build = move || {
        let event = limits.decode(Raw::from(&*text)).map_err(|poison| Cause::poison(&poison))?;
        let (document, event) = (event.document_bytes() as u64, Arc::new(event));
        let (body, settings) = plan.render(&rule, &agent, &event).map_err(Cause::template)?;
        // An HTTP agent without a body gets the event as it was published, and is not decoded for.
        let body = body.unwrap_or_else(|| run_input(None, &event));
        Ok((Some(body), settings, document))
    };
    let _one_at_a_time = runtime.rendering.lock().await;
    let (body, settings, document) =
        context.renderer.run(build).await.unwrap_or_else(|RenderFailed| Err(Cause::template_engine()))?;
    state.charge_late_body(document);
    Ok((body, settings))
}
