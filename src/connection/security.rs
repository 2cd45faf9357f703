//! Transport and authentication: the settings and their validation. A secret is never part of a message or of `Debug`.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use rdkafka::ClientConfig;

use super::SettingError;

/// The beginning of a section of a PEM file.
const PEM: &[u8] = b"-----BEGIN";

/// Transport and authentication, in Kafka's terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Security {
    /// PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.
    pub protocol: String,
    /// PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; with a SASL protocol only.
    pub sasl_mechanism: Option<String>,
    /// The user of a SASL protocol.
    pub sasl_username: Option<String>,
    /// The user's password.
    pub sasl_password: Option<Password>,
    /// PEM file with the authorities that sign the brokers' certificates; the system's when absent.
    pub ssl_cafile: Option<PathBuf>,
    /// PEM file with the client's certificate.
    pub ssl_certfile: Option<PathBuf>,
    /// PEM file with the client's private key.
    pub ssl_keyfile: Option<PathBuf>,
}

/// A password. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Wraps a password, without the line break that it ends with when it comes from a file or a variable.
    pub fn new(password: impl Into<String>) -> Self {
        let mut password = password.into();
        password.truncate(password.trim_end_matches(['\r', '\n']).len());
        Self(password)
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

impl Default for Security {
    fn default() -> Self {
        Self {
            protocol: "PLAINTEXT".into(),
            sasl_mechanism: None,
            sasl_username: None,
            sasl_password: None,
            ssl_cafile: None,
            ssl_certfile: None,
            ssl_keyfile: None,
        }
    }
}

impl Security {
    /// Sets librdkafka's properties.
    pub(super) fn apply(&self, config: &mut ClientConfig) {
        config.set("security.protocol", self.protocol());
        if self.is_sasl() {
            config.set("sasl.mechanism", self.sasl_mechanism.as_deref().unwrap_or_default().to_ascii_uppercase());
            config.set("sasl.username", self.sasl_username.as_deref().unwrap_or_default());
            config.set("sasl.password", self.sasl_password.as_ref().map_or("", |password| password.reveal()));
        }
        if self.is_tls() {
            let files = [
                ("ssl.ca.location", &self.ssl_cafile),
                ("ssl.certificate.location", &self.ssl_certfile),
                ("ssl.key.location", &self.ssl_keyfile),
            ];
            for (property, file) in files {
                if let Some(path) = file {
                    config.set(property, path.to_string_lossy());
                }
            }
        }
    }

    /// The protocol in capitals.
    pub(crate) fn protocol(&self) -> String {
        self.protocol.to_ascii_uppercase()
    }

    pub(crate) fn is_sasl(&self) -> bool {
        self.protocol().starts_with("SASL_")
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.protocol().ends_with("SSL")
    }

    /// Every mistake. Reads the TLS files, and makes no request.
    pub(crate) fn validate(&self, errors: &mut Vec<SettingError>) {
        let mut error =
            |setting: &str, problem: String| errors.push(SettingError::new(format!("security.{setting}"), problem));
        let protocol = self.protocol();
        if !["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"].contains(&protocol.as_str()) {
            error(
                "protocol",
                format!("expected PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL, found {}", shown_word(&self.protocol)),
            );
        } else if self.is_sasl() {
            self.validate_sasl(&protocol, &mut error);
        } else if self.sasl_mechanism.is_some() || self.sasl_username.is_some() || self.sasl_password.is_some() {
            error(
                "protocol",
                format!(
                    "{protocol} does not authenticate, but SASL settings are given: use SASL_SSL or SASL_PLAINTEXT"
                ),
            );
        }
        self.validate_files(&protocol, &mut error);
        if self.ssl_certfile.is_some() != self.ssl_keyfile.is_some() {
            error(
                if self.ssl_certfile.is_some() { "ssl_keyfile" } else { "ssl_certfile" },
                "a client certificate needs both ssl_certfile and ssl_keyfile".into(),
            );
        }
    }

    fn validate_sasl(&self, protocol: &str, error: &mut impl FnMut(&str, String)) {
        match self.sasl_mechanism.as_deref().map(str::to_ascii_uppercase).as_deref() {
            Some("PLAIN" | "SCRAM-SHA-256" | "SCRAM-SHA-512") => {}
            Some(other) => {
                let found = shown_word(other);
                error("sasl_mechanism", format!("expected PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512, found {found}"));
            }
            None => error(
                "sasl_mechanism",
                format!("{protocol} needs one of PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512, found none"),
            ),
        }
        let username = self.sasl_username.as_deref().unwrap_or_default();
        if username.trim().is_empty() {
            error("sasl_username", format!("{protocol} needs a user, found none"));
        } else if let Some((at, found)) = username.chars().enumerate().find(|(_, c)| c.is_control()) {
            let (found, at) = (found.escape_debug(), at + 1);
            let problem = "expected a name without control characters, found";
            error("sasl_username", format!("{problem} `{found}` as its character {at} (the rest is not shown)"));
        }
        let password = self.sasl_password.as_ref().map_or("", Password::reveal);
        if password.trim().is_empty() {
            error("sasl_password", format!("{protocol} needs the user's password, found none"));
        } else if let Some((at, found)) = password.chars().enumerate().find(|(_, c)| c.is_control()) {
            let (found, at) = (found.escape_debug(), at + 1);
            let problem = "expected a password without control characters, found";
            error("sasl_password", format!("{problem} `{found}` as its character {at} (the rest is not shown)"));
        }
    }

    fn validate_files(&self, protocol: &str, error: &mut impl FnMut(&str, String)) {
        let files = [
            ("ssl_cafile", &self.ssl_cafile),
            ("ssl_certfile", &self.ssl_certfile),
            ("ssl_keyfile", &self.ssl_keyfile),
        ];
        for (setting, file) in files {
            let Some(path) = file else { continue };
            if !self.is_tls() {
                error(setting, format!("{protocol} is not encrypted: use SSL or SASL_SSL, or drop this setting"));
            } else if holds_what_a_file_should(path) {
                error(setting, "expected the path of a PEM file, found what such a file holds (not shown)".into());
            } else {
                match crate::files::read(path) {
                    Err(reason) => {
                        error(setting, format!("{}: {reason}: expected a readable PEM file", path.display()));
                    }
                    Ok(bytes) if !bytes.windows(PEM.len()).any(|window| window == PEM) => {
                        let (path, found) = (path.display(), "found no line that begins with `-----BEGIN`");
                        error(setting, format!("{path}: expected a PEM file, {found}: convert it with openssl"));
                    }
                    Ok(_) => {}
                }
            }
        }
    }
}

/// A word in the place of a name from a short list, unless it may be the password that belongs beside it.
fn shown_word(word: &str) -> String {
    const NAMES: [&str; 9] =
        ["SSL", "SASL", "TLS", "PLAIN", "SCRAM", "GSSAPI", "KERBEROS", "OAUTHBEARER", "AWS_MSK_IAM"];
    let upper = word.to_ascii_uppercase();
    let is_name = NAMES.iter().any(|name| upper.starts_with(name)) && word.len() <= 16;
    let is_plain = word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    if is_name && is_plain { format!("`{word}`") } else { "another text (not shown)".to_owned() }
}

/// Whether a certificate or a key stands where the path of its file should.
fn holds_what_a_file_should(path: &Path) -> bool {
    let text = path.to_string_lossy();
    // What is inside a PEM file, on one line: the Base64 of DER begins so.
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
    let is_der = text.len() > 60 && text.starts_with("MI") && text.chars().all(is_base64);
    text.contains("-----") || text.contains(['\n', '\r']) || text.len() > 1_000 || is_der
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(change: impl FnOnce(&mut Security)) -> Vec<SettingError> {
        let mut security = Security { protocol: "SSL".into(), ..Security::default() };
        change(&mut security);
        let mut errors = Vec::new();
        security.validate(&mut errors);
        errors
    }

    #[test]
    fn a_key_in_the_place_of_its_path_is_refused_and_not_shown() {
        let key = "-----BEGIN PRIVATE KEY-----\nMIIEvQ0123456789\n-----END PRIVATE KEY-----\n";
        for text in [key.to_owned(), key.replace('\n', " "), "MIIEvQ0123456789".repeat(100)] {
            let errors = mistakes(|security| {
                security.ssl_certfile = Some(text.clone().into());
                security.ssl_keyfile = Some(text.clone().into());
            });
            assert_eq!(errors.len(), 2, "{errors:?}");
            for error in errors {
                assert!(error.problem.contains("expected the path of a PEM file"), "{error}");
                assert!(!error.to_string().contains("MIIEvQ"), "{error}");
            }
        }
    }

    #[test]
    fn a_file_that_is_no_pem_is_refused_by_its_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"\x30\x82DER").unwrap();
        let errors = mistakes(|security| security.ssl_cafile = Some(file.path().to_owned()));
        assert_eq!(errors.len(), 1);
        assert!(errors[0].problem.contains(&file.path().display().to_string()), "{}", errors[0]);
        assert!(errors[0].problem.contains("expected a PEM file"), "{}", errors[0]);
    }
}
