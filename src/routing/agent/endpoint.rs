//! Reads the settings of each kind of endpoint.

use std::{path::Path, time::Duration};

use reqwest::{Method, Url, header::HeaderName};

use super::{
    context::{Context, DAY, HOUR, SECOND},
    headers::{auth, authorized, headers},
    run::{self, Draft},
};
use crate::{
    agents::{Auth, Endpoint, HeaderText, HttpSpec, LangGraphSpec, Tls, TlsError, Ttl, TtlStrategy},
    routing::fields::Fields,
    yaml::{Data, Node, Position},
};

/// The kinds of endpoint, by the key in a routing file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::routing) enum EndpointKind {
    LangGraph,
    Http,
}

const MAX_REQUEST_LIFETIME: Duration = Duration::from_secs(60);

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
    let server = server(what, &mut fields, context);
    let assistant = fields
        .require("assistant", "name the graph, or give the assistant's UUID", context.report)
        .and_then(|entry| context.text(&entry.value, &format!("{what}, assistant")));
    let api_key = fields.take("api_key").map(|entry| context.secret(&entry.value, &format!("{what}, api_key")));
    let max_request_lifetime = max_request_lifetime(what, &mut fields, timeout, context);
    let config = fields.take("config");
    let has_configurable = config.is_some_and(|entry| entry.value.get("configurable").is_some());
    let config = config.and_then(|entry| run::setting(what, entry, context));
    let run_context = fields.take("context");
    let run_context_at = run_context.and_then(|entry| entry.at);
    let has_run_context = run_context.is_some();
    let run_context = run_context.and_then(|entry| run::setting(what, entry, context));
    let metadata = fields.take("metadata").and_then(|entry| run::metadata(what, entry, context));
    let ttl = fields.take("ttl").map(|entry| ttl(&format!("{what}, ttl"), &entry.value, context));
    let tracer = fields.take("langsmith_tracer").map(|entry| tracer(what, &entry.value, context));
    let auth = fields.take("auth").map(|entry| auth(&format!("{what}, auth"), &entry.value, context));
    let tls = fields.take("tls").map(|entry| tls(&format!("{what}, tls"), &entry.value, context));
    let headers = langgraph_headers(what, &mut fields, api_key.is_some(), auth.as_ref(), context);
    check_tls(what, url.as_ref(), tls.as_ref().and_then(Option::as_ref), fields.at, context);
    fields.finish(context.report);

    if has_configurable && has_run_context {
        let message = "expected config.configurable or context, found both, which the server refuses";
        context.report.error(run_context_at, format!("{what}: {message}: keep one"));
    }
    let (config, run_context) = templates.split(config, run_context, metadata);
    Some(Endpoint::LangGraph(LangGraphSpec {
        url: url?,
        server,
        assistant: assistant?,
        api_key: api_key.flatten(),
        auth: auth.flatten(),
        tls: tls.flatten(),
        headers,
        max_request_lifetime: max_request_lifetime?,
        config,
        context: run_context,
        ttl: ttl.flatten(),
        tracer_project: tracer.flatten(),
    }))
}

/// `server`: what the endpoint is called at every URL that it has.
fn server(what: &str, fields: &mut Fields<'_>, context: &mut Context<'_>) -> Option<String> {
    fields.take("server").and_then(|entry| context.text(&entry.value, &format!("{what}, server")))
}

/// The headers of a LangGraph agent: `x-api-key` has one source at most.
fn langgraph_headers(
    what: &str,
    fields: &mut Fields<'_>,
    has_api_key: bool,
    auth: Option<&Option<Auth>>,
    context: &mut Context<'_>,
) -> Vec<(HeaderName, HeaderText)> {
    if let (true, Some(Some(Auth::ApiKey { header, .. }))) = (has_api_key, auth)
        && header == "x-api-key"
    {
        let message = "expected the header `x-api-key` from api_key or from auth, found both: keep one";
        context.report.error(fields.at, format!("{what}: {message}"));
    }
    let mut reserved = vec![("content-type", "the bridge sends JSON")];
    if has_api_key {
        reserved.push(("x-api-key", "api_key sets it"));
    }
    reserved.extend(authorized(auth));
    headers(what, fields, &reserved, context)
}

/// `max_request_lifetime`, formerly `settle`: at least twice the time-out.
fn max_request_lifetime(
    what: &str,
    fields: &mut Fields<'_>,
    timeout: Option<Duration>,
    context: &mut Context<'_>,
) -> Option<Duration> {
    let entry = fields.take_renamed("max_request_lifetime", context.report);
    let key = entry.map_or("max_request_lifetime", |entry| entry.key.as_str());
    let lifetime = entry.map_or(Some(MAX_REQUEST_LIFETIME), |entry| {
        context.duration(&entry.value, &format!("{what}, {key}"), SECOND / 10..=24 * HOUR, "60s")
    })?;
    if let Some(timeout) = timeout
        && lifetime < timeout * 2
    {
        let at = entry.map_or(fields.at, |entry| entry.value.at);
        let [found, twice, timeout] = [lifetime, timeout * 2, timeout].map(humantime::format_duration);
        let message = format!("expected at least {twice}, twice the timeout of {timeout}, found {found}");
        context.report.error(at, format!("{what}, {key}: {message}: raise {key} or lower the timeout"));
    }
    Some(lifetime)
}

pub(super) fn http(what: &str, node: &Node, context: &mut Context<'_>) -> Option<Endpoint> {
    let mut fields = Fields::open(node, what, context.report)?;
    let url = fields
        .require("url", "say where the event goes", context.report)
        .and_then(|entry| context.url(&entry.value, &format!("{what}, url")));
    let server = server(what, &mut fields, context);
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
        let mut fields = Fields::open(&entry.value, &*what, context.report)?.of_secrets();
        let secret = fields.require("secret", "name it as {env: NAME} or {file: PATH}", context.report);
        let secret = secret.and_then(|entry| context.signing_secret(&entry.value, &format!("{what}, secret")));
        fields.finish(context.report);
        secret
    });
    let tls = fields.take("tls").map(|entry| tls(&format!("{what}, tls"), &entry.value, context));
    check_tls(what, url.as_ref(), tls.as_ref().and_then(Option::as_ref), fields.at, context);
    let reserved: Vec<_> = authorized(auth.as_ref()).into_iter().collect();
    let headers = headers(what, &mut fields, &reserved, context);
    fields.finish(context.report);
    Some(Endpoint::Http(HttpSpec {
        url: url?,
        server,
        method: method?,
        headers,
        auth: auth.flatten(),
        tls: tls.flatten(),
        sign: sign.flatten(),
    }))
}

/// `30d`, or `{after: 30d, strategy: delete}`.
fn ttl(what: &str, node: &Node, context: &mut Context<'_>) -> Option<Ttl> {
    let range = SECOND..=3_650 * DAY;
    let Data::Map(_) = &node.data else {
        let after = context.duration(node, what, range, "14d")?;
        return Some(Ttl { after, strategy: TtlStrategy::KeepLatest });
    };
    let mut fields = Fields::open(node, what, context.report)?;
    let after = fields.require("after", "say when, such as 30d", context.report);
    let after_at = after.and_then(|entry| entry.value.at);
    let after = after.and_then(|entry| context.duration(&entry.value, &format!("{what}, after"), range.clone(), "30d"));
    let strategy = fields.take("strategy").map_or(Some(TtlStrategy::KeepLatest), |entry| match entry.value.text() {
        Some("keep_latest") => Some(TtlStrategy::KeepLatest),
        Some("delete") => Some(TtlStrategy::Delete),
        _ => {
            let message = format!("expected keep_latest or delete, found {}", entry.value.found());
            context.report.error(entry.value.at, format!("{what}, strategy: {message}"));
            None
        }
    });
    fields.finish(context.report);
    let ttl = Ttl { after: after?, strategy: strategy? };
    if ttl.strategy == TtlStrategy::Delete && ttl.after <= context.dedup_window {
        let [found, window] = [ttl.after, context.dedup_window].map(humantime::format_duration);
        let message = format!("expected more than the dedup window of {window} with strategy delete, found {found}");
        let advice = "a claim that is gone no longer keeps a repeated event from running again";
        context.report.error(after_at, format!("{what}, after: {message}: {advice}"));
    }
    Some(ttl)
}

/// The certificates of a private CA.
fn tls(what: &str, node: &Node, context: &mut Context<'_>) -> Option<Tls> {
    let mut fields = Fields::open(node, what, context.report)?;
    let file = fields.require("ca_file", "name the PEM file with the CA's certificates", context.report);
    fields.finish(context.report);
    let node = &file?.value;
    let path = context.text(node, &format!("{what}, ca_file"))?;
    // As it stands in the file: what a variable holds may be a secret.
    let written = || Path::new(node.text().unwrap_or_default()).to_owned();
    let shown = |error| match error {
        TlsError::Unreadable { error, .. } => TlsError::Unreadable { path: written(), error },
        TlsError::NoCertificate { found, .. } => TlsError::NoCertificate { path: written(), found },
    };
    let loaded = Tls::load(Path::new(&path)).map_err(shown);
    loaded.map_err(|error| context.report.error(node.at, format!("{what}, ca_file: {error}"))).ok()
}

/// `tls` beside an `http://` URL is a mistake.
fn check_tls(what: &str, url: Option<&Url>, tls: Option<&Tls>, at: Option<Position>, context: &mut Context<'_>) {
    if tls.is_some() && url.is_some_and(|url| url.scheme() == "http") {
        let message = "expected a URL with https:// beside tls, found http://";
        context.report.error(at, format!("{what}, tls: {message}: correct the URL, or take tls out"));
    }
}

/// `{project_name: NAME}`, as the run API has it.
fn tracer(what: &str, node: &Node, context: &mut Context<'_>) -> Option<String> {
    let what = format!("{what}, langsmith_tracer");
    let mut fields = Fields::open(node, &*what, context.report)?;
    let name = fields.require("project_name", "name the LangSmith project", context.report);
    let name = name.and_then(|entry| context.text(&entry.value, &format!("{what}, project_name")));
    fields.finish(context.report);
    name
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
