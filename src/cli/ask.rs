//! Asks a running bridge, at its admin address.

use std::time::Duration;

use tokio::runtime::Builder;

/// The most bytes of an answer that are read.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// The status and the text of an answer.
pub(super) type Answer = (u16, String);

/// Asks for a page; `path` has no leading slash, and its segments are encoded here.
///
/// # Errors
/// What to tell the user.
pub(super) fn ask(admin_addr: &str, path: &[&str], within: Duration) -> Result<Answer, String> {
    // A bridge that listens on every address is reached at the loopback address.
    let addr = admin_addr.replace("0.0.0.0", "127.0.0.1").replace("[::]", "[::1]");
    let base = format!("http://{addr}/");
    let mut url = reqwest::Url::parse(&base).map_err(|error| format!("{base}: {error}"))?;
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    let runtime =
        Builder::new_current_thread().enable_all().build().map_err(|error| format!("cannot start: {error}"))?;
    runtime
        .block_on(get(url.clone(), within))
        .map_err(|error| format!("{url}: {}: is the bridge running there?", cause(&error)))?
        .ok_or_else(|| format!("{url}: the answer has more than {} MiB: ask with curl", MAX_ANSWER_BYTES >> 20))
}

/// `None`: the answer is too long.
async fn get(url: reqwest::Url, within: Duration) -> Result<Option<Answer>, reqwest::Error> {
    let client = reqwest::Client::builder().no_proxy().timeout(within).build()?;
    let mut response = client.get(url).send().await?;
    let mut text = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        text.extend_from_slice(&chunk);
        if text.len() > MAX_ANSWER_BYTES {
            return Ok(None);
        }
    }
    Ok(Some((response.status().as_u16(), String::from_utf8_lossy(&text).into_owned())))
}

/// The innermost cause: `connection refused` rather than `error sending request`.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
