//! Who may ask for what changes something.
//!
//! The admin address has no password: whoever reaches it may ask. What reaches it by accident is a browser on the same host or in
//! the same network, which any web page can make send requests: by a form to the address (CSRF), or under a name of the page that
//! leads there (DNS rebinding). A browser says that it is one, so its requests are refused; nobody uses these pages with one.

use std::net::IpAddr;

use axum::http::{HeaderMap, header};

/// Headers that browsers send and a page cannot leave out: the first with every POST.
const OF_BROWSERS: [&str; 3] = ["origin", "sec-fetch-site", "sec-fetch-mode"];

/// Why the request is refused, if it is. `is_loopback`: only this host can ask, so only its names are asked for.
pub(super) fn refusal(headers: &HeaderMap, is_loopback: bool) -> Option<&'static str> {
    if OF_BROWSERS.iter().any(|name| headers.contains_key(*name)) {
        return Some("a browser sent this, and a page may have made it do so: use another client, such as curl");
    }
    let host = headers.get(header::HOST).map(|host| host.to_str().unwrap_or_default());
    if is_loopback && !host.is_none_or(is_local) {
        return Some("expected 127.0.0.1, ::1 or localhost as the host, found another name");
    }
    None
}

/// Whether a `Host` names this host.
fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(headers: &[(&'static str, &'static str)], is_loopback: bool) -> bool {
        let headers: HeaderMap =
            headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        refusal(&headers, is_loopback).is_some()
    }

    #[test]
    fn a_browser_is_refused_wherever_the_bridge_listens() {
        for is_loopback in [true, false] {
            assert!(refused(&[("host", "127.0.0.1:9464"), ("origin", "https://evil.example")], is_loopback));
            assert!(refused(&[("host", "127.0.0.1:9464"), ("origin", "null")], is_loopback));
            assert!(refused(&[("host", "localhost"), ("sec-fetch-site", "same-origin")], is_loopback));
        }
    }

    #[test]
    fn on_loopback_only_names_of_this_host_are_accepted() {
        for host in ["127.0.0.1:9464", "localhost:9464", "LOCALHOST", "[::1]:9464", "127.0.0.2"] {
            assert!(!refused(&[("host", host)], true), "{host}");
        }
        for host in ["evil.example:9464", "127.0.0.1.evil.example", "localhost.evil.example", "", "10.0.0.1"] {
            assert!(refused(&[("host", host)], true), "{host}");
            assert!(!refused(&[("host", host)], false), "{host}: a service has names of its own");
        }
        assert!(!refused(&[], true));
    }
}
