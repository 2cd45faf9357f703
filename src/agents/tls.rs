//! The certificate authorities that are trusted for an agent's server.
//!
//! Reads a file of CA certificates. Its invariant: a [`Tls`] has at least one certificate.
//! It does not know how a connection is made.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use native_tls::Certificate;

/// The certificates of a private CA, which are trusted instead of the system's.
#[derive(Clone)]
pub(crate) struct Tls {
    ca_file: PathBuf,
    pem: Arc<[u8]>,
    certificates: Vec<Certificate>,
}

/// Equal when the same file had the same content.
impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        self.ca_file == other.ca_file && self.pem == other.pem
    }
}

/// A CA file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// The file cannot be read.
    #[error("CA file {path}: {error}: name a file that the bridge's user may read")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// The file is no PEM of certificates.
    #[error("CA file {path}: expected certificates in PEM (-----BEGIN CERTIFICATE-----), found {found}")]
    NoCertificate {
        /// Which file.
        path: PathBuf,
        /// What it holds instead.
        found: String,
    },
}

impl Tls {
    /// Reads the certificates, once: a file that changes later is read at the next load of the routing folder.
    pub(crate) fn load(ca_file: &Path) -> Result<Self, TlsError> {
        let path = || ca_file.to_owned();
        let pem = crate::files::read(ca_file).map_err(|error| TlsError::Unreadable { path: path(), error })?;
        let missing = |found: &str| TlsError::NoCertificate { path: path(), found: found.to_owned() };
        let certificates = match Certificate::stack_from_pem(&pem) {
            Ok(certificates) if certificates.is_empty() => return Err(missing("none")),
            Ok(certificates) => certificates,
            Err(error) => return Err(missing(&format!("one that is damaged ({error})"))),
        };
        Ok(Self { ca_file: path(), pem: pem.into(), certificates })
    }

    /// At least one.
    pub(super) fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tls({}, {} certificates)", self.ca_file.display(), self.certificates.len())
    }
}

#[cfg(test)]
mod tests;
