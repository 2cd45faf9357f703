//! What a message may repeat of a name that a person wrote in a place where a secret may stand by mistake.
//!
//! Its invariant: only what is spelt as such names are is repeated. A secret that is spelt like one, a word in capitals say, is
//! no better than a guess: it has no digit between its letters. A position is in every message, so whoever wrote the file
//! finds it anyhow.

/// The longest name, and the longest word of one, that is repeated.
const MAX_NAME: usize = 64;
const MAX_WORD: usize = 20;

/// The key of a setting in quotes, or that it is not shown.
pub(crate) fn shown_key(key: &str) -> String {
    if is_key(key) { format!("\"{key}\"") } else { "(not shown)".to_owned() }
}

/// Whether a text is spelt like the key of a setting: words of small letters, joined by `_`, `-` and `.`.
pub(crate) fn is_key(key: &str) -> bool {
    let is_word = |word: &str| (1..=MAX_WORD).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_lowercase());
    key.len() <= MAX_NAME && key.split(['_', '-', '.']).all(is_word)
}

/// `the environment variable NAME`, or without its name.
pub(crate) fn shown_variable(name: &str) -> String {
    if is_variable_name(name) {
        format!("the environment variable {name}")
    } else {
        "the environment variable that is named here (not shown: it may be the secret itself; a name has capital letters and `_`)".to_owned()
    }
}

/// Whether a text is spelt as the names of variables are: words of capital letters, joined by `_`, with a number at their ends.
pub(crate) fn is_variable_name(name: &str) -> bool {
    let is_word = |word: &str| {
        let letters = word.trim_end_matches(|c: char| c.is_ascii_digit());
        let digits = word.len() - letters.len();
        let has_letters_only = letters.bytes().all(|b| b.is_ascii_uppercase());
        // `S3`, `OAUTH2`, `K8S`, and nothing between the underscores of `A__B`.
        (has_letters_only && digits <= 4 && word.len() <= MAX_WORD)
            || (word.len() <= 3 && word.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()))
    };
    (1..=MAX_NAME).contains(&name.len()) && name.split('_').all(is_word)
}

/// The path of a file that should hold a secret, or that it is not shown. A token without a slash at its beginning is no path
/// that anybody writes for a secret.
pub(crate) fn shown_path(path: &str) -> String {
    let is_word = |word: &str| {
        let is_allowed =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '~' | '$' | '{' | '}' | ':');
        // Of a token, letters of both cases are mixed with digits.
        let is_mixed = word.bytes().any(|b| b.is_ascii_digit())
            && word.bytes().any(|b| b.is_ascii_uppercase())
            && word.bytes().any(|b| b.is_ascii_lowercase());
        word.len() <= MAX_NAME && word.chars().all(is_allowed) && !(is_mixed && word.len() > MAX_WORD)
    };
    let is_variable = path.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')).is_some_and(is_variable_name);
    let begins = path.starts_with(['/', '~']) || ["./", "../"].iter().any(|start| path.starts_with(start));
    if is_variable || (begins && path.split('/').all(is_word)) {
        path.to_owned()
    } else {
        "(path not shown)".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_repeated_and_what_may_be_a_secret_is_not() {
        for name in ["LANGGRAPH_API_KEY", "K", "KEY2", "AWS_S3_KEY", "_PRIVATE", "K8S_TOKEN", "OAUTH2__SECRET"] {
            assert!(shown_variable(name).ends_with(name), "{name}");
        }
        for secret in [
            "hunter2",
            "sk_live_51HxyzABC",
            "AKIAIOSFODNN7EXAMPLE",
            "JBSWY3DPEHPK3PXP",
            "lsv2_pt_abc",
            "",
            "A B",
            "é",
            "0123456789ABCDEF0123",
            &"A".repeat(65),
            "SK-LIVE",
        ] {
            assert!(secret.is_empty() || !shown_variable(secret).contains(secret), "{secret}");
        }
        for key in ["baerer", "max_attempts", "ssl.key.pasword", "content-type", "bootstrap.servers"] {
            assert_eq!(shown_key(key), format!("\"{key}\""));
        }
        for secret in
            ["hunter2", "Bearer x", "authorization: Bearer x", "ssl.key.password=x", "xoxb-1", "", "eyJhbGciOiJI"]
        {
            assert_eq!(shown_key(secret), "(not shown)", "{secret}");
        }
    }

    #[test]
    fn the_path_of_a_secret_is_repeated_and_a_secret_in_its_place_is_not() {
        for path in ["/run/secrets/api-key", "./key", "../keys/KEY.txt", "~/key", "${KEY_FILE}", "/${DIR}/key"] {
            assert_eq!(shown_path(path), path);
        }
        for secret in [
            "hunter2",
            "sk-live-51Hxyz",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIi.c2ln",
            "a/b+c==",
            "${K:-hunter2}",
            "wJalrXUtnFEMI/K7MDENG/bPx",
            "/7MDENGbPxRfiCYEXAMPLEKEYwJalr",
            "key\n",
            "",
        ] {
            assert_eq!(shown_path(secret), "(path not shown)", "{secret}");
        }
    }
}
