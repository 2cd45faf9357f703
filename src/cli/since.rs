//! `--since`: how far back a command reads.

use std::time::Duration;

use jiff::Timestamp;

/// A time, given as such or as a duration before now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Since {
    Ago(Duration),
    At(Timestamp),
}

impl Since {
    /// The time, for a command that runs now.
    pub(super) fn before(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(time) => time,
            // Beyond what a time can be: everything.
            Self::Ago(time) => now.checked_sub(time).unwrap_or(Timestamp::UNIX_EPOCH).max(Timestamp::UNIX_EPOCH),
        }
    }
}

/// Reads the flag.
pub(super) fn since(text: &str) -> Result<Since, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(Since::At(time));
    }
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("expected more than nothing, such as 24h".to_owned()),
        Ok(duration) => Ok(Since::Ago(duration)),
        Err(_) => Err("expected a duration such as 24h or 7d, or a time such as 2026-01-31T12:00:00Z".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_or_a_time_says_how_far_back() {
        let now: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        let before = |text: &str| since(text).map(|since| since.before(now).to_string());
        assert_eq!(before("24h").unwrap(), "2026-01-30T12:00:00Z");
        assert_eq!(before("1h 30m").unwrap(), "2026-01-31T10:30:00Z");
        assert_eq!(before("2026-01-01T00:00:00+01:00").unwrap(), "2025-12-31T23:00:00Z");
        assert_eq!(before("100000y").unwrap(), "1970-01-01T00:00:00Z");
        for wrong in ["", "0s", "24", "yesterday", "2026-01-31"] {
            assert!(before(wrong).unwrap_err().starts_with("expected"), "{wrong}");
        }
    }
}
