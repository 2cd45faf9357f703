//! The headers of a request, with the secrets that they need.

use std::{fmt, sync::Arc};

use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::Url;

use super::{Auth, HeaderText, Secret, SecretError};

/// The headers of a request, and the secrets in them: no log may repeat one that an answer repeats.
#[derive(Clone, Default)]
pub(super) struct Headers {
    pub map: HeaderMap,
    pub secrets: Vec<Arc<str>>,
    /// A secret of them is in a file.
    is_from_file: bool,
}

/// The headers that all requests to an endpoint have: made once, unless a secret of them is in a file. That is read at every use.
pub(super) struct CommonHeaders<S> {
    made: Option<Headers>,
    make: fn(&S) -> Result<Headers, String>,
}

impl<S> CommonHeaders<S> {
    pub(super) fn new(spec: &S, make: fn(&S) -> Result<Headers, String>) -> Self {
        Self { made: make(spec).ok().filter(|headers| !headers.is_from_file), make }
    }

    pub(super) fn get(&self, spec: &S) -> Result<Headers, String> {
        self.made.clone().map_or_else(|| (self.make)(spec), Ok)
    }
}

/// Shows nothing: there are secrets in them.
impl<S> fmt::Debug for CommonHeaders<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommonHeaders").finish_non_exhaustive()
    }
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
        self.is_from_file |= matches!(secret, Secret::File(_));
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

#[cfg(test)]
mod tests {
    use std::{
        fs,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    struct Spec {
        secret: Secret,
        made: AtomicUsize,
    }

    fn make(spec: &Spec) -> Result<Headers, String> {
        spec.made.fetch_add(1, Ordering::Relaxed);
        let mut headers = Headers::default();
        headers.add_secret(&AUTHORIZATION, &spec.secret, "Bearer ").map_err(|error| error.to_string())?;
        Ok(headers)
    }

    fn shown(headers: Result<Headers, String>) -> (String, Vec<Arc<str>>) {
        let headers = headers.unwrap();
        (headers.map[AUTHORIZATION].to_str().unwrap().to_owned(), headers.secrets)
    }

    #[test]
    fn headers_are_made_once_unless_a_secret_is_read_at_every_use() {
        let secret = Secret::Env { name: "KEY".into(), value: "hunter2".into() };
        let spec = Spec { secret, made: AtomicUsize::default() };
        let common = CommonHeaders::new(&spec, make);
        for _ in 0..3 {
            assert_eq!(shown(common.get(&spec)), ("Bearer hunter2".to_owned(), vec!["hunter2".into()]));
        }
        assert_eq!(spec.made.load(Ordering::Relaxed), 1);

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let spec = Spec { secret: Secret::File(path.clone()), made: AtomicUsize::default() };
        let common = CommonHeaders::new(&spec, make);
        assert!(common.get(&spec).is_err_and(|error| error.contains("secret file")));
        for key in ["first", "rotated"] {
            fs::write(&path, key).unwrap();
            assert_eq!(shown(common.get(&spec)), (format!("Bearer {key}"), vec![key.into()]));
        }
        assert_eq!(format!("{common:?}"), "CommonHeaders { .. }");
    }
}
