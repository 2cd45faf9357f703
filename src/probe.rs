//! What asking a running part found: a word for it, what it said, and what to do. It knows no part.

/// How an answer is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// As the bridge needs it.
    Ok,
    /// The bridge starts, and something will probably go wrong, or could not be asked.
    Warning,
    /// The bridge cannot work with it.
    Error,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Probed {
    /// What was asked: ``topic `orders` ``.
    pub target: String,
    /// How good that is.
    pub verdict: Verdict,
    /// What was found, without a secret.
    pub found: String,
    /// What to do, unless all is well.
    pub remedy: Option<String>,
}

impl Probed {
    pub(crate) fn ok(target: impl Into<String>, found: impl Into<String>) -> Self {
        Self { target: target.into(), verdict: Verdict::Ok, found: found.into(), remedy: None }
    }

    pub(crate) fn warning(target: impl Into<String>, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (target, found) = (target.into(), found.into());
        Self { target, verdict: Verdict::Warning, found, remedy: Some(remedy.into()) }
    }

    pub(crate) fn error(target: impl Into<String>, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { verdict: Verdict::Error, ..Self::warning(target, found, remedy) }
    }
}
