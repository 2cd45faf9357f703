//! The signature of Standard Webhooks: who sent a body, and that it is whole.
//!
//! Pure: the time is an argument. It does not know where the secret is kept.

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// What a secret in the form of the standard begins with; the key follows in base64.
const PREFIX: &str = "whsec_";

/// A secret that announces base64 and is none.
#[derive(Debug, thiserror::Error)]
#[error("the signing secret begins with whsec_ and is not base64 after it: correct it, or drop the prefix")]
pub(super) struct NotBase64;

/// `v1,<base64 of HMAC-SHA256 over id.timestamp.body>`; `timestamp` is in seconds since 1970.
pub(super) fn signature(secret: &str, id: &str, timestamp: i64, body: &[u8]) -> Result<String, NotBase64> {
    let key = match secret.strip_prefix(PREFIX) {
        Some(encoded) => STANDARD.decode(encoded).map_err(|_| NotBase64)?,
        None => secret.as_bytes().to_vec(),
    };
    // HMAC takes a key of any length.
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).map_err(|_| NotBase64)?;
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
        signature("whsec_not base64!", "a", 1, b"b").unwrap_err();
    }
}
