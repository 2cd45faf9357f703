//! The two kinds of endpoint.

use crate::yaml::{Data, Node, Position, quoted};
use std::{path::Path, time::Duration};

use reqwest::{
    Method, Url,
    header::{HeaderName, HeaderValue},
};

use super::{Context, DAY, Draft, HOUR, SECOND, run};
use crate::{
    agents::{Auth, Endpoint, HeaderText, HttpSpec, LangGraphSpec, Tls, TlsError, Ttl, TtlStrategy},
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
    let ttl = fields.take("ttl").map(|entry| ttl(&format!("{what}, ttl"), &entry.value, context));
    let tracer = fields.take("langsmith_tracer").map(|entry| tracer(what, &entry.value, context));
    let auth = fields.take("auth").map(|entry| auth(&format!("{what}, auth"), &entry.value, context));
    let tls = fields.take("tls").map(|entry| tls(&format!("{what}, tls"), &entry.value, context));
    if let (Some(_), Some(Some(Auth::ApiKey { header, .. }))) = (&api_key, &auth)
        && header == "x-api-key"
    {
        let message = "expected the header `x-api-key` from api_key or from auth, found both: keep one";
        context.report.error(fields.at, format!("{what}: {message}"));
    }
    let mut reserved = vec![("content-type", "the bridge sends JSON")];
    if api_key.is_some() {
        reserved.push(("x-api-key", "api_key sets it"));
    }
    reserved.extend(authorized(auth.as_ref()));
    let headers = headers(what, &mut fields, &reserved, context);
    check_tls(what, url.as_ref(), tls.as_ref().and_then(Option::as_ref), fields.at, context);
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
        auth: auth.flatten(),
        tls: tls.flatten(),
        headers,
        settle: settle?,
        config,
        context: run_context,
        ttl: ttl.flatten(),
        tracer_project: tracer.flatten(),
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
        method: method?,
        headers,
        auth: auth.flatten(),
        tls: tls.flatten(),
        sign: sign.flatten(),
    }))
}

/// The header that `auth` sets, and why `headers` cannot.
fn authorized(auth: Option<&Option<Auth>>) -> Option<(&str, &'static str)> {
    let header = match auth?.as_ref()? {
        Auth::Bearer(_) => "authorization",
        Auth::ApiKey { header, .. } => header.as_str(),
    };
    Some((header, "auth sets it"))
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

/// A CA vouches for nobody without TLS.
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
                // Messages show what the file says: what a variable holds may be a secret.
                let written = entry.value.text().unwrap_or_default();
                header_name(&format!("{what}, header"), &name, written, entry.value.at, &[], context)
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
        let Some(name) = header_name(&what, &entry.key, &entry.key, entry.at, reserved, context) else { continue };
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

/// The name of a header; messages show it as `written`.
fn header_name(
    what: &str,
    text: &str,
    written: &str,
    at: Option<Position>,
    reserved: &[(&str, &str)],
    context: &mut Context<'_>,
) -> Option<HeaderName> {
    let Ok(name) = text.parse::<HeaderName>() else {
        context.report.error(at, format!("{what}: expected the name of a header, found {}", quoted(written)));
        return None;
    };
    let reason = if RESERVED.contains(&name.as_str()) || name.as_str().starts_with("webhook-") {
        Some("the bridge sets it, and its guarantees rest on that")
    } else {
        reserved.iter().find(|(header, _)| *header == name.as_str()).map(|(_, reason)| *reason)
    };
    if let Some(reason) = reason {
        let name = if written == text { name.as_str() } else { written };
        context.report.error(at, format!("{what}: the header `{name}` cannot be set here: {reason}"));
        return None;
    }
    Some(name)
}
