//! The names of the files: what they say of an event without opening it.
//!
//! `<unix ms>-<destination>-<event>-<pid>-<n>.event` waits; `<the same>.<unix ms>-<pid>-<n>.claim`
//! is being published by a process since then; `.<the same>.tmp` is being written. The time comes
//! first and has a fixed width, so that names sort by age. A name is a hint: the header inside
//! decides. Pure: nothing here touches a disk or a clock.

use uuid::Uuid;

pub(super) const WAITING: &str = ".event";
pub(super) const CLAIMED: &str = ".claim";
pub(super) const TEMPORARY: &str = ".tmp";

/// Not the namespace of any id that leaves this folder.
const NAMESPACE: Uuid = Uuid::from_u128(0x1c55_7bb3_0a0e_5f6b_8d7e_42f0_9b36_5b01);
const DEFAULT_PORT: &str = ":9092";

/// What a file name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named<'a> {
    /// An event that waits.
    Waiting { stem: &'a str },
    /// An event that a process took, at this time in unix milliseconds.
    Claimed { stem: &'a str, since: u64 },
    /// A file that is being written, or was when its writer ended.
    Temporary { stem: &'a str },
    /// Not the spool's.
    Other,
}

/// Reads a file name.
pub(super) fn read(name: &str) -> Named<'_> {
    if let Some(hidden) = name.strip_prefix('.') {
        return match hidden.strip_suffix(TEMPORARY) {
            Some(stem) if is_ours(stem) => Named::Temporary { stem },
            _ => Named::Other,
        };
    }
    if let Some(stem) = name.strip_suffix(WAITING).filter(|stem| !stem.is_empty()) {
        return Named::Waiting { stem };
    }
    let claimed = name.strip_suffix(CLAIMED).and_then(|rest| {
        let (stem, claim) = rest.rsplit_once('.')?;
        let (since, _pid) = claim.split_once('-')?;
        Some(Named::Claimed { stem, since: since.parse().ok()? })
    });
    claimed.filter(|_| !name.starts_with(CLAIMED)).unwrap_or(Named::Other)
}

/// A new event's name, without its ending.
pub(super) fn stem(now_ms: u64, destination: &str, event_id: &str, pid: u32, n: u64) -> String {
    let event = &hash(event_id)[..16];
    format!("{now_ms:013}-{}-{event}-{pid}-{n}", destination_tag(destination))
}

/// Whether a spool gave this name, or the quarantine did, which adds a number. Only such files are swept or quarantined:
/// a file that a person put there under another name is that person's.
pub(super) fn is_ours(stem: &str) -> bool {
    let all = |part: &str, is_in: fn(&u8) -> bool| !part.is_empty() && part.bytes().all(|byte| is_in(&byte));
    let mut parts = stem.split('-');
    parts.next().is_some_and(|ms| ms.len() >= 13 && all(ms, u8::is_ascii_digit))
        && parts.next().is_some_and(|tag| tag.len() == 8 && all(tag, u8::is_ascii_hexdigit))
        && parts.next().is_some_and(|event| event.len() == 16 && all(event, u8::is_ascii_hexdigit))
        && parts.clone().count() >= 2
        && parts.all(|number| all(number, u8::is_ascii_digit))
}

/// The name of a claim on it.
pub(super) fn claim(stem: &str, now_ms: u64, pid: u32, n: u64) -> String {
    format!("{stem}.{now_ms}-{pid}-{n}{CLAIMED}")
}

/// When the event was spooled, in unix milliseconds; 0 where the name does not say.
pub(super) fn spooled_at(stem: &str) -> u64 {
    stem.split('-').next().and_then(|ms| ms.parse().ok()).unwrap_or_default()
}

/// Which of its process's events it is: their order within a millisecond; 0 where the name does not say.
pub(super) fn number(stem: &str) -> u64 {
    stem.rsplit('-').next().and_then(|n| n.parse().ok()).unwrap_or_default()
}

/// The destination's tag in the name, if the name has one.
pub(super) fn tag(stem: &str) -> Option<&str> {
    stem.split('-').nth(1).filter(|tag| tag.len() == 8 && tag.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Eight hexadecimal digits for a destination, the same for every spelling of it.
pub(super) fn destination_tag(bootstrap_servers: &str) -> String {
    hash(&normalised(bootstrap_servers))[..8].to_owned()
}

/// A destination in one spelling: small letters, a port each, sorted.
pub(super) fn normalised(bootstrap_servers: &str) -> String {
    let mut servers: Vec<String> = bootstrap_servers
        .split(',')
        .map(|server| server.trim().to_ascii_lowercase())
        .filter(|server| !server.is_empty())
        .map(|server| {
            let has_port = server.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
            if has_port { server } else { server + DEFAULT_PORT }
        })
        .collect();
    servers.sort();
    servers.dedup();
    servers.join(",")
}

/// Whether two lists of bootstrap servers are one destination.
pub fn same_destination(one: &str, other: &str) -> bool {
    normalised(one) == normalised(other)
}

fn hash(text: &str) -> String {
    Uuid::new_v5(&NAMESPACE, text.as_bytes()).simple().to_string()
}
