//! The two kinds of endpoint.

use crate::yaml::{Data, Node, Position, quoted};
use std::time::Duration;

use reqwest::{
    Method, Url,
    header::{HeaderName, HeaderValue},
};

use super::{Context, DAY, Draft, HOUR, SECOND, run};
use crate::{
    agents::{Auth, Endpoint, HeaderText, HttpSpec, LangGraphSpec},
    routing::fields::Fields,
};

/// The kinds of endpoint, by the key in a routing file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::routing) enum Kind {
    LangGraph,
    Http,
}

const SETTLE: Duration = Duration::from_secs(60);

/// Headers that the bridge or its HTTP client sets on every request.
const RESERVED: [&str; 11] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "idempotency-key",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "proxy-connection",
];

/// Headers whose value is a secret.
const SECRET: [&str; 4] = ["authorization", "cookie", "proxy-authorization", "x-api-key"];

pub(super) fn langgraph(
    what: &str,
    node: &Node,
    timeout: Option<Duration>,
    templates: &mut Draft,
    context: &mut Context<'_>,
) -> Option<Endpoint> {
    let mut fields = Fields::open(node, what, context.report)?;
    let url = fields
        .require("url", "name the server, such as http://127.0.0.1:2024", context.report)
        .and_then(|entry| base_url(what, &entry.value, context));
    let assistant = fields
        .require("assistant", "name the graph, or give the assistant's UUID", context.report)
        .and_then(|entry| context.text(&entry.value, &format!("{what}, assistant")));
    let api_key = fields.take("api_key").map(|entry| context.secret(&entry.value, &format!("{what}, api_key")));
    let settle = fields.take("settle");
    let settle_at = settle.map_or(fields.at, |entry| entry.value.at);
    let settle = settle.map_or(Some(SETTLE), |entry| {
        context.duration(&entry.value, &format!("{what}, settle"), SECOND / 10..=24 * HOUR, "60s")
    });
    let config = fields.take("config");
    let has_configurable = config.is_some_and(|entry| entry.value.get("configurable").is_some());
    let config = config.and_then(|entry| run::setting(what, entry, context));
    let run_context = fields.take("context");
    let run_context_at = run_context.and_then(|entry| entry.at);
    let has_run_context = run_context.is_some();
    let run_context = run_context.and_then(|entry| run::setting(what, entry, context));
    let metadata = fields.take("metadata").and_then(|entry| run::metadata(what, entry, context));
    let ttl = fields.take("ttl").map(|entry| {
        let ttl = context.duration(&entry.value, &format!("{what}, ttl"), SECOND..=3_650 * DAY, "14d")?;
        if ttl <= context.dedup_window {
            let [ttl, window] = [ttl, context.dedup_window].map(humantime::format_duration);
            let message = format!("expected a ttl longer than the dedup window of {window}, found {ttl}");
            let advice = "a claim that is gone no longer keeps a repeated event from running again";
            context.report.error(entry.value.at, format!("{what}, ttl: {message}: {advice}"));
        }
        Some(ttl)
    });
    let mut reserved = vec![("content-type", "the bridge sends JSON")];
    if api_key.is_some() {
        reserved.push(("x-api-key", "api_key sets it"));
    }
    let headers = headers(what, &mut fields, &reserved, context);
    fields.finish(context.report);

    if let (Some(settle), Some(timeout)) = (settle, timeout)
        && settle < timeout * 2
    {
        let [settle, twice, timeout] = [settle, timeout * 2, timeout].map(humantime::format_duration);
        let message = format!("expected at least {twice}, twice the timeout of {timeout}, found {settle}");
        context.report.error(settle_at, format!("{what}, settle: {message}: raise settle or lower the timeout"));
    }
    if has_configurable && has_run_context {
        let message = "expected config.configurable or context, found both, which the server refuses";
        context.report.error(run_context_at, format!("{what}: {message}: keep one"));
    }
    let (config, run_context) = templates.split(config, run_context, metadata);
    Some(Endpoint::LangGraph(LangGraphSpec {
        url: url?,
        assistant: assistant?,
        api_key: api_key.flatten(),
        headers,
        settle: settle?,
        config,
        context: run_context,
        ttl: ttl.flatten(),
    }))
}

pub(super) fn http(what: &str, node: &Node, context: &mut Context<'_>) -> Option<Endpoint> {
    let mut fields = Fields::open(node, what, context.report)?;
    let url = fields
        .require("url", "say where the event goes", context.report)
        .and_then(|entry| context.url(&entry.value, &format!("{what}, url")));
    let method = fields.take("method").map_or(Some(Method::POST), |entry| match entry.value.text() {
        Some("POST") => Some(Method::POST),
        Some("PUT") => Some(Method::PUT),
        _ => {
            let message = format!("{what}, method: expected POST or PUT, found {}", entry.value.found());
            context.report.error(entry.value.at, message);
            None
        }
    });
    let auth = fields.take("auth").map(|entry| auth(&format!("{what}, auth"), &entry.value, context));
    let sign = fields.take("sign").map(|entry| {
        let what = format!("{what}, sign");
        let mut fields = Fields::open(&entry.value, &*what, context.report)?;
        let secret = fields.require("secret", "name it as {env: NAME} or {file: PATH}", context.report);
        let secret = secret.and_then(|entry| context.secret(&entry.value, &format!("{what}, secret")));
        fields.finish(context.report);
        secret
    });
    let mut reserved = Vec::new();
    match &auth {
        Some(Some(Auth::Bearer(_))) => reserved.push(("authorization", "auth sets it")),
        Some(Some(Auth::ApiKey { header, .. })) => reserved.push((header.as_str(), "auth sets it")),
        _ => {}
    }
    let headers = headers(what, &mut fields, &reserved, context);
    fields.finish(context.report);
    Some(Endpoint::Http(HttpSpec { url: url?, method: method?, headers, auth: auth.flatten(), sign: sign.flatten() }))
}

/// The URL of a server, to which paths are added.
fn base_url(what: &str, node: &Node, context: &mut Context<'_>) -> Option<Url> {
    let mut url = context.url(node, &format!("{what}, url"))?;
    if url.query().is_some() {
        let message = "expected the server's base URL without `?`, found one: cut it off";
        context.report.error(node.at, format!("{what}, url: {message}"));
        return None;
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Some(url)
}

fn auth(what: &str, node: &Node, context: &mut Context<'_>) -> Option<Auth> {
    let mut fields = Fields::open(node, what, context.report)?;
    let bearer = fields.take("bearer");
    let api_key = fields.take("api_key");
    let header = fields.take("header");
    let auth = match (bearer, api_key) {
        (Some(entry), None) => {
            if let Some(header) = header {
                let message = "a bearer token goes into `authorization`: take `header` out, or use api_key";
                context.report.error(header.at, format!("{what}, header: {message}"));
            }
            context.secret(&entry.value, &format!("{what}, bearer")).map(Auth::Bearer)
        }
        (None, Some(entry)) => {
            let key = context.secret(&entry.value, &format!("{what}, api_key"));
            let header = header.map_or(Some(HeaderName::from_static("x-api-key")), |entry| {
                let name = context.text(&entry.value, &format!("{what}, header"))?;
                header_name(&format!("{what}, header"), &name, entry.value.at, &[], context)
            });
            key.zip(header).map(|(key, header)| Auth::ApiKey { header, key })
        }
        _ => {
            let message = "expected either {bearer: SECRET} or {api_key: SECRET, header: NAME}";
            context.report.error(fields.at, format!("{what}: {message}: keep one of the two"));
            None
        }
    };
    fields.finish(context.report);
    auth
}

/// The headers that a file adds to every request.
fn headers(
    what: &str,
    fields: &mut Fields<'_>,
    reserved: &[(&str, &str)],
    context: &mut Context<'_>,
) -> Vec<(HeaderName, HeaderText)> {
    let Some(entry) = fields.take("headers") else { return Vec::new() };
    let what = format!("{what}, headers");
    let Data::Map(entries) = &entry.value.data else {
        let message = format!("{what}: expected a map from names to values, found {}", entry.value.found_type());
        context.report.error(entry.value.at, message);
        return Vec::new();
    };
    let mut headers: Vec<(HeaderName, HeaderText)> = Vec::with_capacity(entries.len());
    for entry in entries {
        let Some(name) = header_name(&what, &entry.key, entry.at, reserved, context) else { continue };
        if headers.iter().any(|(other, _)| *other == name) {
            let message = format!("{what}: the header `{name}` stands here twice (case does not matter): keep one");
            context.report.error(entry.at, message);
            continue;
        }
        let what = format!("{what}, {name}");
        let secret = SECRET.contains(&name.as_str());
        if secret || matches!(entry.value.data, Data::Map(_)) {
            let value = context.secret(&entry.value, &what);
            headers.extend(value.map(|secret| (name, HeaderText::Secret(secret))));
        } else if let Some(text) = context.text(&entry.value, &what) {
            if let Ok(value) = HeaderValue::from_str(&text) {
                headers.push((name, HeaderText::Plain(value)));
            } else {
                let message = format!(
                    "{what}: expected visible characters, found {}",
                    quoted(entry.value.text().unwrap_or_default())
                );
                context.report.error(entry.value.at, message);
            }
        }
    }
    headers
}

fn header_name(
    what: &str,
    text: &str,
    at: Option<Position>,
    reserved: &[(&str, &str)],
    context: &mut Context<'_>,
) -> Option<HeaderName> {
    let Ok(name) = text.parse::<HeaderName>() else {
        context.report.error(at, format!("{what}: expected the name of a header, found {}", quoted(text)));
        return None;
    };
    let reason = if RESERVED.contains(&name.as_str()) || name.as_str().starts_with("webhook-") {
        Some("the bridge sets it, and its guarantees rest on that")
    } else {
        reserved.iter().find(|(header, _)| *header == name.as_str()).map(|(_, reason)| *reason)
    };
    if let Some(reason) = reason {
        context.report.error(at, format!("{what}: the header `{name}` cannot be set here: {reason}"));
        return None;
    }
    Some(name)
}
