//! Builds the request of an attempt: the rule's and the agent's templates, the event, and its trace.

use std::sync::Arc;

use serde_json::Value;

use super::{
    cause::Cause, context::PipelineContext, event_state::EventState, late, render::RenderFailed, rules::Planned,
};
use crate::{
    agents::{Delivery, RunSettings, TraceContext, published},
    event::DeliveryId,
};

/// The identity of a delivery, the same for every attempt, restart and replica.
pub(super) fn delivery_id(state: &EventState, planned: &Planned) -> DeliveryId {
    let (rule, agent) = (&planned.rule, &planned.runtime.spec.name);
    DeliveryId::new(rule, agent, state.event.id(), state.generation(rule, agent))
}

/// The delivery as the agent gets it. A template that cannot be rendered ends the delivery.
pub(super) async fn compose(
    context: &PipelineContext,
    state: &EventState,
    planned: &Planned,
) -> Result<Delivery, Cause> {
    let (event, received) = (&state.event, &state.received);
    let (body, settings) = if late::is_needed(event, planned) {
        late::render(context, state, planned).await?
    } else {
        render(context, state, planned).await?
    };
    Ok(Delivery {
        id: delivery_id(state, planned),
        rule: Arc::clone(&planned.rule),
        agent: Arc::clone(&planned.runtime.spec.name),
        event: Arc::clone(event),
        origin: received.origin.clone(),
        key: received.key.clone(),
        raw: if planned.runtime.is_handler() { received.text() } else { published(event, || received.text()) },
        trace: trace(state),
        body,
        settings,
    })
}

/// Renders the templates of a rule and of its agent. What depends on the event is rendered on the threads of the
/// renderer, never on those of the runtime.
async fn render(
    context: &PipelineContext,
    state: &EventState,
    Planned { plan, rule, runtime, .. }: &Planned,
) -> Result<(Option<Value>, RunSettings), Cause> {
    let agent = Arc::clone(&runtime.spec.name);
    let has_templates = plan.has_templates(rule, &agent);
    let (plan, rule, event) = (Arc::clone(plan), Arc::clone(rule), Arc::clone(&state.event));
    let render = move || plan.render(&rule, &agent, &event);
    let rendered = if has_templates {
        let _one_at_a_time = runtime.rendering.lock().await;
        context.renderer.run(render).await
    } else {
        Ok(render())
    };
    match rendered {
        Ok(Ok(rendered)) => Ok(rendered),
        Ok(Err(error)) => Err(Cause::template(error)),
        Err(RenderFailed) => Err(Cause::template_engine()),
    }
}

/// The trace that the record belongs to: its headers, in any letter case, or the extension attributes of a CloudEvent.
fn trace(state: &EventState) -> TraceContext {
    let header = |name: &str| -> Vec<&str> {
        let values = state.received.headers.iter().filter(|(found, _)| found.eq_ignore_ascii_case(name));
        // An invalid value counts as an empty one, so a valid one after it is not used.
        values.filter_map(|(_, value)| Some(std::str::from_utf8(value.as_deref()?).unwrap_or_default())).collect()
    };
    let [parent, tracestate] = state.event.trace();
    let attributes = TraceContext::read(parent, tracestate, None);
    TraceContext::read(header("traceparent"), header("tracestate"), header("baggage")).or(attributes)
}
