//! An address as logs, pages and the ledger know it.

use reqwest::Url;

/// Without credentials, query and fragment.
pub(super) fn address(url: &Url) -> String {
    let mut url = url.clone();
    // These cannot fail on a URL that has a host.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_shows_neither_credentials_nor_the_query() {
        let shown = |url: &str| address(&url.parse().unwrap());
        assert_eq!(shown("https://u:hunter2@h:8443/a/b?token=hunter2#x"), "https://h:8443/a/b");
        assert_eq!(shown("http://[::1]:1/"), "http://[::1]:1/");
    }
}
