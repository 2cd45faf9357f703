//! The headers and credentials of an endpoint.

use reqwest::header::{HeaderName, HeaderValue};

use super::context::Context;
use crate::{
    agents::{Auth, HeaderText},
    routing::fields::Fields,
    yaml::{Data, Node, Position},
};

/// Headers that the bridge or its HTTP client sets on every request.
pub(in crate::routing) const RESERVED: [&str; 11] = [
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
pub(in crate::routing) const SECRET: [&str; 4] = ["authorization", "cookie", "proxy-authorization", "x-api-key"];

/// The header that `auth` sets, and why `headers` cannot.
pub(super) fn authorized(auth: Option<&Option<Auth>>) -> Option<(&str, &'static str)> {
    let header = match auth?.as_ref()? {
        Auth::Bearer(_) => "authorization",
        Auth::ApiKey { header, .. } => header.as_str(),
    };
    Some((header, "auth sets it"))
}

pub(super) fn auth(what: &str, node: &Node, context: &mut Context<'_>) -> Option<Auth> {
    let mut fields = Fields::open(node, what, context.report)?.of_secrets();
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
pub(super) fn headers(
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
                let message = "expected visible characters, found another among them (the value is not shown)";
                context.report.error(entry.value.at, format!("{what}: {message}"));
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
        let message = format!("{what}: expected the name of a header, found {}", not_of_a_name(written));
        context.report.error(at, format!("{message}: write letters, digits and `-`, and the value after a colon"));
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

/// What is no name of a header. A value, such as a token, may stand in its place.
fn not_of_a_name(written: &str) -> String {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    match written.chars().enumerate().find(|(_, c)| !is_allowed(*c)) {
        Some((at, c)) => format!("`{}` as its character {} (the rest is not shown)", c.escape_debug(), at + 1),
        None => "another text (not shown)".to_owned(),
    }
}
