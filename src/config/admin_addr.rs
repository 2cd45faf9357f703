//! The listen address of the admin pages: a host and a port, and nothing that a message must not repeat.

/// What is wrong with an address; `None` when it is one. Of a text that may hold a password nothing is repeated.
pub(super) fn problem(addr: &str) -> Option<String> {
    let (host, port) = match addr.rsplit_once(':') {
        Some((host, port)) if is_host(host) => (host, port),
        _ if is_host(addr) && !addr.contains(':') => return Some(no_port(addr)),
        _ => return Some("another text (not shown)".to_owned()),
    };
    if port.parse::<u16>().is_ok() {
        None
    } else if !port.is_empty() && port.len() <= 10 && port.bytes().all(|byte| byte.is_ascii_digit()) {
        Some(format!("`{host}:{port}`"))
    } else {
        Some("a port that is no number (not shown)".to_owned())
    }
}

fn no_port(addr: &str) -> String {
    let is_number = |part: &str| part.parse::<u8>().is_ok();
    let is_shown = addr == "localhost" || (addr.split('.').count() == 4 && addr.split('.').all(is_number));
    if is_shown { format!("`{addr}` without a port") } else { "a text without a port (not shown)".to_owned() }
}

/// A name, an IPv4 address, or an IPv6 address in brackets.
fn is_host(host: &str) -> bool {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let is_address = |c: char| c.is_ascii_hexdigit() || matches!(c, ':' | '.');
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        // A zone may follow.
        Some(address) => address.split('%').next().is_some_and(|ip| !ip.is_empty() && ip.chars().all(is_address)),
        None => !host.is_empty() && host.chars().all(is_name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_and_a_port_are_an_address() {
        for addr in
            ["127.0.0.1:9464", "0.0.0.0:0", "localhost:80", "my_host.example:9464", "[::]:9464", "[fe80::1%eth0]:1"]
        {
            assert_eq!(problem(addr), None, "{addr}");
        }
        for (addr, found) in [("localhost", "`localhost` without a port"), ("127.0.0.1:99999", "`127.0.0.1:99999`")] {
            assert_eq!(problem(addr).as_deref(), Some(found));
        }
    }

    #[test]
    fn what_may_be_a_password_is_not_repeated() {
        for addr in [
            "alice:hunter2@127.0.0.1:9464",
            "http://alice:hunter2@host:9464",
            "hunter2",
            "alice:hunter2",
            "hunter2@host:1",
            "http://h/hunter2:1",
            "[hunter2]:1",
            ":hunter2",
            "",
            ":9464",
            "[hunter2",
        ] {
            let found = problem(addr).unwrap_or_else(|| panic!("{addr} is no address"));
            assert!(!found.contains("hunter2"), "{addr}: {found}");
        }
    }
}
