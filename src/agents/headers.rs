//! The headers of a request, with the secrets that they need.

use std::sync::Arc;

use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::Url;

use super::{Auth, HeaderText, Secret, SecretError};

/// The headers of a request, and the secrets in them: no log may repeat one that an answer repeats.
#[derive(Default)]
pub(super) struct Headers {
    pub map: HeaderMap,
    pub secrets: Vec<Arc<str>>,
}

/// A secret that cannot be sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum HeaderError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("the secret for header {0} holds characters that a header cannot: correct the secret")]
    Characters(HeaderName),
}

impl Headers {
    /// Adds the headers of the routing file.
    pub(super) fn add_all(&mut self, headers: &[(HeaderName, HeaderText)]) -> Result<(), HeaderError> {
        for (name, text) in headers {
            match text {
                HeaderText::Plain(value) => {
                    self.map.append(name, value.clone());
                }
                HeaderText::Secret(secret) => self.add_secret(name, secret, "")?,
            }
        }
        Ok(())
    }

    /// Adds the header by which the bridge authenticates.
    pub(super) fn authorize(&mut self, auth: &Auth) -> Result<(), HeaderError> {
        match auth {
            Auth::Bearer(secret) => self.add_secret(&AUTHORIZATION, secret, "Bearer "),
            Auth::ApiKey { header, key } => self.add_secret(header, key, ""),
        }
    }

    /// Sets a header whose value is never shown.
    pub(super) fn add_secret(&mut self, name: &HeaderName, secret: &Secret, prefix: &str) -> Result<(), HeaderError> {
        let secret = secret.reveal()?;
        let mut value =
            HeaderValue::from_str(&format!("{prefix}{secret}")).map_err(|_| HeaderError::Characters(name.clone()))?;
        value.set_sensitive(true);
        self.map.insert(name, value);
        self.secrets.push(secret);
        Ok(())
    }

    /// Sets a header of the bridge's own. A value that no header can have leaves it out: no event may fail because
    /// of its trace context.
    pub(super) fn set(&mut self, name: &'static str, value: &str) {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.map.insert(name, value);
        }
    }

    /// Sets a header unless the routing file has set it.
    pub(super) fn set_default(&mut self, name: HeaderName, value: &str) {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.map.entry(name).or_insert(value);
        }
    }

    /// The query of the agent's URL may have a token, which an answer may repeat: whatever is long
    /// enough to be one is never shown.
    pub(super) fn hide_query(&mut self, url: &Url) {
        self.secrets.extend(url.query().filter(|query| query.len() >= 6).map(Into::into));
        self.secrets.extend(url.query_pairs().filter(|(_, value)| value.len() >= 6).map(|(_, value)| (&*value).into()));
        let written =
            url.query().into_iter().flat_map(|query| query.split('&')).filter_map(|pair| pair.split_once('='));
        self.secrets.extend(written.filter(|(_, value)| value.len() >= 6).map(|(_, value)| value.into()));
    }
}
