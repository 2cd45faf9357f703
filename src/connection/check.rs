//! The validation of addresses, names and librdkafka properties, before a client is made of them.

use std::collections::BTreeMap;

use rdkafka::{ClientConfig, error::KafkaError as RdError};

/// One mistake in the settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {problem}")]
pub struct SettingError {
    /// The setting, as the documentation spells it.
    pub setting: String,
    /// What was expected, what was found, what to do.
    pub problem: String,
}

impl SettingError {
    pub(crate) fn new(setting: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { setting: setting.into(), problem: problem.into() }
    }
}

/// Whether a librdkafka property holds a secret.
pub(crate) fn is_secret(property: &str) -> bool {
    ["password", "passphrase", "secret", ".pem", "oauthbearer.config", "jaas"]
        .iter()
        .any(|part| property.contains(part))
}

/// The properties for `Debug`: names only, as any of them may come from where secrets are kept.
pub(crate) fn shown(properties: &BTreeMap<String, String>) -> BTreeMap<&str, &str> {
    properties.keys().map(|name| (name.as_str(), "..")).collect()
}

/// A list of `host:port` without a trailing comma, which a template that joins servers may leave.
pub(crate) fn without_trailing_comma(servers: &str) -> &str {
    let servers = servers.trim();
    servers.strip_suffix(',').map_or(servers, str::trim_end)
}

/// The mistakes in a list of `host:port`.
pub(crate) fn check_servers(servers: &str, errors: &mut Vec<SettingError>) {
    let servers = without_trailing_comma(servers);
    if servers.split(',').any(|server| server.trim().is_empty()) {
        errors.push(SettingError::new(
            "bootstrap_servers",
            "expected `host:port`, comma-separated, found an empty entry",
        ));
    }
    for server in servers.split(',').map(str::trim).filter(|server| !server.is_empty()) {
        if let Some(problem) = bad_server(server) {
            errors.push(SettingError::new("bootstrap_servers", problem));
        }
    }
}

/// An address that librdkafka would misread, or would log with a secret in it.
fn bad_server(server: &str) -> Option<String> {
    if server.contains("://") || server.contains(['@', '/']) {
        return Some("expected `host:port`, found a URL or credentials (not shown): write host and port alone".into());
    }
    if server.contains([';', ' ', '\t']) {
        return Some(
            "expected `host:port`, comma-separated, found a blank, a tab or `;` in an entry (not shown)".into(),
        );
    }
    let port = match server.rsplit_once(':') {
        // An IPv6 address without a port.
        Some((_, port)) if port.ends_with(']') => return None,
        Some((_, port)) => port,
        None => return None,
    };
    let is_port = port.parse::<u16>().is_ok_and(|port| port > 0);
    // A port that is no number may be a password.
    let found = if port.bytes().all(|byte| byte.is_ascii_digit()) {
        format!("`{server}`")
    } else {
        "a port that is no number (not shown)".into()
    };
    (!is_port).then(|| format!("expected `host:port` with a port from 1 to 65535, found {found}"))
}

/// Kafka's own rule for the names of topics.
pub(crate) fn bad_topic(topic: &str) -> Option<String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if topic.is_empty() || topic.len() > 249 || topic == "." || topic == ".." || !topic.chars().all(legal) {
        return Some(format!(
            "expected 1 to 249 of letters, digits, `.`, `_` and `-`, found `{}`",
            topic.escape_debug()
        ));
    }
    None
}

/// Whether librdkafka knows the property and takes the value.
pub(crate) fn check_property(name: &str, value: &str) -> Result<(), String> {
    let mut config = ClientConfig::new();
    config.set(name, value);
    match config.create_native_config() {
        Ok(_) => Ok(()),
        Err(_) if is_secret(name) => Err("librdkafka refuses the property or its value (not shown)".into()),
        Err(error) => Err(reason(&error)),
    }
}

/// librdkafka's own text, without the value of a property.
pub(crate) fn reason(error: &RdError) -> String {
    match error {
        RdError::ClientConfig(_, _, name, _) if is_secret(name) => {
            format!("librdkafka refuses {name} (its value is not shown)")
        }
        RdError::ClientConfig(_, text, _, _) | RdError::ClientCreation(text) => text.clone(),
        RdError::Nul(_) => "expected text without a NUL character".into(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(servers: &str) -> String {
        let mut errors = Vec::new();
        check_servers(servers, &mut errors);
        errors.first().map(ToString::to_string).unwrap_or_default()
    }

    #[test]
    fn one_trailing_comma_is_accepted_and_no_other_empty_entry() {
        for servers in ["kafka:9092,", "kafka:9092 , ", "a:1,b:2,"] {
            assert_eq!(problem(servers), "", "{servers}");
        }
        for servers in ["", ",", "kafka:9092,,", ",kafka:9092", "a:1,,b:2"] {
            assert!(problem(servers).contains("found an empty entry"), "{servers}");
        }
        assert_eq!(without_trailing_comma(" a:1,b:2 , "), "a:1,b:2");
    }

    #[test]
    fn a_wrong_port_is_shown_and_what_may_be_a_password_is_not() {
        assert!(problem("kafka:99999").contains("found `kafka:99999`"));
        let credentials = problem("alice:hunter2");
        assert!(credentials.contains("a port from 1 to 65535") && !credentials.contains("hunter2"), "{credentials}");
        assert_eq!(problem("kafka:9092,[::1]:9092"), "");
    }
}
