//! The signature of Standard Webhooks: proves the sender and the integrity of a body.
//!
//! Pure: the time is an argument. It does not know the source of the secret.

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The prefix of a secret in the standard's form; the key follows in base64.
const PREFIX: &str = "whsec_";

/// A signing secret that cannot sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SigningSecretError {
    /// It has the prefix, and the rest is not base64.
    #[error(
        "expected base64 (A-Z, a-z, 0-9, + and /, padded with =) after whsec_ in the signing secret, found something \
         else (not shown): copy the secret whole, or drop the prefix to use the text itself as the key"
    )]
    NotBase64,
    /// It has no key.
    #[error("expected a key in the signing secret, found none{}: generate one, such as whsec_ and 32 random bytes in base64", .after_prefix.then_some(" after whsec_").unwrap_or_default())]
    Empty {
        /// It is nothing but the prefix.
        after_prefix: bool,
    },
}

/// Whether a secret can sign: checked when a routing folder is loaded, and again at each use, because
/// its file may change.
pub(crate) fn check_signing_secret(secret: &str) -> Result<(), SigningSecretError> {
    key(secret).map(drop)
}

/// The key in a secret: at least one byte.
fn key(secret: &str) -> Result<Vec<u8>, SigningSecretError> {
    let (key, after_prefix) = match secret.strip_prefix(PREFIX) {
        Some(encoded) => (STANDARD.decode(encoded).map_err(|_| SigningSecretError::NotBase64)?, true),
        None => (secret.as_bytes().to_vec(), false),
    };
    if key.trim_ascii().is_empty() && (!after_prefix || key.is_empty()) {
        return Err(SigningSecretError::Empty { after_prefix });
    }
    Ok(key)
}

/// `v1,<base64 of HMAC-SHA256 over id.timestamp.body>`; `timestamp` is in seconds since 1970.
pub(super) fn signature(secret: &str, id: &str, timestamp: i64, body: &[u8]) -> Result<String, SigningSecretError> {
    // HMAC takes a key of any length.
    let mut mac = Hmac::<Sha256>::new_from_slice(&key(secret)?).map_err(|_| SigningSecretError::NotBase64)?;
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    Ok(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the Standard Webhooks libraries, computed again with `openssl dgst -hmac`.
    #[test]
    fn the_signature_is_that_of_the_standard() {
        let body = br#"{"test": 2432232314}"#;
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        let signed = signature("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", id, 1_614_265_330, body).unwrap();
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_without_the_prefix_is_the_key_itself() {
        let signed = signature("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "a", 1, b"b").unwrap();
        let decoded = signature("whsec_TWZLUTlyOEdLWXFyVHdqVVBEOElMUFpJbzJMYUxhU3c=", "a", 1, b"b").unwrap();
        assert_eq!(signed, decoded);
    }

    #[test]
    fn a_secret_that_announces_base64_has_to_be_base64() {
        for secret in ["whsec_not base64!", "whsec_!", "whsec_YQ", "whsec_YQ==\n", "whsec_ YQ=="] {
            assert_eq!(signature(secret, "a", 1, b"b"), Err(SigningSecretError::NotBase64), "{secret:?}");
        }
    }

    #[test]
    fn nothing_is_signed_with_an_empty_key() {
        for (secret, after_prefix) in [("whsec_", true), ("", false), (" \t", false)] {
            let expected = Err(SigningSecretError::Empty { after_prefix });
            assert_eq!(signature(secret, "a", 1, b"b"), expected, "{secret:?}");
            assert_eq!(check_signing_secret(secret), Err(SigningSecretError::Empty { after_prefix }));
        }
    }
}
