//! The scalars of an agent: texts with `${VAR}` in them, counts, durations, rates, URLs.

use std::{num::NonZeroU32, ops::RangeInclusive, time::Duration};

use reqwest::Url;

use super::context::Context;
use crate::{
    agents::Rate,
    routing::{problem::Report, template::Part},
    yaml::{Data, Node, Position, is_key, is_variable_name, quoted, shown_path, shown_variable},
};

impl Context<'_> {
    /// A text with its variables filled in. `$${` stands for `${`.
    pub(super) fn expand(&mut self, text: &str, at: Option<Position>) -> Option<String> {
        let parts = parts(text, at, self.env, self.report)?;
        let text = |part| match part {
            Part::Text(text) | Part::Variable { value: text, .. } => text,
        };
        Some(parts.into_iter().map(text).collect())
    }

    /// A text that is not empty.
    pub(super) fn text(&mut self, node: &Node, what: &str) -> Option<String> {
        let Data::Text(text) = &node.data else {
            let found = node.found_type();
            self.report.error(node.at, format!("{what}: expected a string, found {found}: quote it if it is one"));
            return None;
        };
        let text = self.expand(text, node.at)?;
        if text.trim().is_empty() {
            self.report.error(node.at, format!("{what}: expected a string, found an empty one: fill it in"));
            return None;
        }
        Some(text)
    }

    /// A whole number; as a string too, so that a variable can give it.
    pub(super) fn count(&mut self, node: &Node, what: &str, range: RangeInclusive<u32>) -> Option<u32> {
        let number = match &node.data {
            Data::Number(number) => number.as_u64(),
            Data::Text(text) => self.expand(text, node.at)?.trim().parse().ok(),
            _ => None,
        };
        let number = number.and_then(|number| u32::try_from(number).ok()).filter(|number| range.contains(number));
        if number.is_none() {
            let (least, most) = range.into_inner();
            let message = format!("{what}: expected a whole number from {least} to {most}, found {}", node.found());
            self.report.error(node.at, message);
        }
        number
    }

    /// A duration such as `500ms`.
    pub(super) fn duration(
        &mut self,
        node: &Node,
        what: &str,
        range: RangeInclusive<Duration>,
        example: &str,
    ) -> Option<Duration> {
        let text = match &node.data {
            Data::Text(text) => self.expand(text, node.at)?,
            _ => String::new(),
        };
        let Ok(duration) = humantime::parse_duration(&text) else {
            let message = format!("{what}: expected a duration with its unit, such as {example}");
            self.report.error(node.at, format!("{message}, found {}", node.found()));
            return None;
        };
        if !range.contains(&duration) {
            let (least, most) = range.into_inner();
            let [duration, least, most] = [duration, least, most].map(humantime::format_duration);
            // What a variable holds may be a secret.
            let found = if node.text() == Some(&*text) { duration.to_string() } else { node.found() };
            self.report.error(node.at, format!("{what}: expected {least} to {most}, found {found}"));
            return None;
        }
        Some(duration)
    }

    /// A rate such as `50/s`.
    pub(super) fn rate(&mut self, node: &Node, what: &str) -> Option<Rate> {
        let text = match &node.data {
            Data::Text(text) => self.expand(text, node.at)?,
            _ => String::new(),
        };
        let rate = text.split_once('/').and_then(|(count, unit)| {
            let seconds = match unit.trim() {
                "s" => 1,
                "m" => 60,
                "h" => 3_600,
                _ => return None,
            };
            let count: NonZeroU32 = count.trim().parse().ok()?;
            Some(Rate { count, per: Duration::from_secs(seconds) })
        });
        if rate.is_none() {
            let message = format!("{what}, rate: expected a count per s, m or h, such as 50/s, found {}", node.found());
            self.report.error(node.at, format!("{message}: leave the key out for no limit"));
        }
        rate
    }

    /// An absolute http or https URL with nothing secret in it.
    pub(super) fn url(&mut self, node: &Node, what: &str) -> Option<Url> {
        let text = self.text(node, what)?;
        // As it stands in the file: what a variable holds may be a secret.
        let written = node.text().unwrap_or_default();
        let shown = shown_url(written);
        // The parser takes a path for the host where the host is empty.
        let host = ["http://", "https://"].iter().find_map(|scheme| {
            let begins = text.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme));
            begins.then(|| &text[scheme.len()..])
        });
        let Some(host) = host else {
            let message = format!("{what}: expected a URL that begins with http:// or https://, found {shown}");
            self.report.error(node.at, message);
            return None;
        };
        if host.starts_with(['/', '\\', ':', '?', '#']) || host.is_empty() {
            let message = format!("{what}: expected a host after http:// or https://, found none in {shown}");
            self.report.error(node.at, format!("{message}: a variable may be empty"));
            return None;
        }
        let url = match Url::parse(&text) {
            Ok(url) => url,
            Err(error) => {
                self.report.error(node.at, format!("{what}: expected a URL, found {shown}: {error}"));
                return None;
            }
        };
        if !url.username().is_empty() || url.password().is_some() {
            let message = "expected a URL without credentials, found some (not shown)";
            self.report.error(node.at, format!("{what}: {message}: use auth or api_key with {{env: NAME}}"));
            return None;
        }
        if url.fragment().is_some() {
            self.report.error(node.at, format!("{what}: expected a URL without `#`, found {shown}: cut it off"));
            return None;
        }
        Some(url)
    }
}

/// A text cut at its variables. `$${` stands for `${`.
pub(super) fn parts(
    text: &str,
    at: Option<Position>,
    env: &dyn Fn(&str) -> Option<String>,
    report: &mut Report,
) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    let mut rest = text;
    let mut complete = true;
    while let Some(start) = rest.find("${") {
        let (before, after) = (&rest[..start], &rest[start + 2..]);
        if let Some(before) = before.strip_suffix('$') {
            parts.push(Part::Text(format!("{before}${{")));
            rest = after;
            continue;
        }
        parts.push(Part::Text(before.to_owned()));
        let Some((inner, after)) = after.split_once('}') else {
            report.error(at, "expected `}` after `${`, found none: write ${NAME} or ${NAME:-default}");
            return None;
        };
        let (name, default) = match inner.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inner, None),
        };
        if is_variable(name) {
            // As in a shell, `:-` also stands in for a variable that is empty.
            let value = env(name).filter(|value| default.is_none() || !value.is_empty());
            if let Some(value) = value.or_else(|| default.map(str::to_owned)) {
                parts.push(Part::Variable { written: format!("${{{inner}}}"), value });
            } else {
                let message = format!("expected {}, found it unset", shown_variable(name));
                let name = if is_variable_name(name) { name } else { "NAME" };
                report.error(at, format!("{message}: set it, or write ${{{name}:-default}}"));
                complete = false;
            }
        } else {
            let message = "expected ${NAME} or ${NAME:-default}, NAME of letters, digits and `_`";
            report.error(at, format!("{message}, found another text (not shown): write $${{ for a plain ${{"));
            complete = false;
        }
        rest = after;
    }
    parts.push(Part::Text(rest.to_owned()));
    complete.then_some(parts)
}

/// A name that an environment variable can have in a shell.
pub(super) fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// What should be a URL, as far as it holds no secret: a key may stand in its place, or after its host.
fn shown_url(written: &str) -> String {
    let host = without_path(written);
    let is_host =
        |host: &str| host.contains('.') && is_key(host.trim_end_matches(|c: char| c.is_ascii_digit() || c == ':'));
    let schemes = ["http://", "https://"];
    let has_scheme =
        schemes.iter().any(|scheme| host.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
            || ["http:", "https:"].contains(&host);
    let is_variable = host.starts_with("${") && shown_path(host) == host;
    if !written.contains('@') && (has_scheme || is_host(host) || is_variable) {
        quoted(host)
    } else {
        "another text (not shown)".to_owned()
    }
}

/// The scheme and the host of what should be a URL: keys and names of hooks stand in the rest.
fn without_path(url: &str) -> &str {
    let host = url.find("//").map_or(0, |slashes| slashes + "//".len());
    let end = url[host..].find(['/', '?', '#', '\\']).map_or(url.len(), |at| host + at);
    &url[..end]
}
