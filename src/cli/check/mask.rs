//! What may be seen of a line of a routing file or of bridge.yaml, as the log of a CI run is read by many.
//!
//! Its invariant: a value is shown if its key cannot have a secret, and is `***` otherwise. Below `rules:` that holds for
//! every key but those with a telling name; everywhere else, where credentials belong, only for the keys that are listed
//! here and the settings. `${NAME}` and `{env: NAME}` name a secret and do not hold one. The line may be no YAML at all, so
//! only its characters and its indentation count, and a doubt is a `***`.

use super::source::Line;
use crate::config;

/// Keys of agents whose values are no secrets.
const HARMLESS: [&str; 21] = [
    "after",
    "assistant",
    "ca_file",
    "concurrency",
    "env",
    "file",
    "give_up_after",
    "initial",
    "max",
    "max_attempts",
    "max_request_lifetime",
    "method",
    "name",
    "project_name",
    "rate",
    "recursion_limit",
    "settle",
    "strategy",
    "timeout",
    "ttl",
    "url",
];

/// Words in the names of keys that have secrets.
const SECRET: [&str; 18] = [
    ".pem",
    "access-key",
    "access_key",
    "api-key",
    "api_key",
    "apikey",
    "authorization",
    "bearer",
    "cookie",
    "credential",
    "jaas",
    "oauthbearer",
    "passphrase",
    "passwd",
    "password",
    "private",
    "secret",
    "token",
];

/// Keys that may be seen where a secret belongs: how one is named, or what it is.
const OF_SECRETS: [&str; 6] = ["api_key", "bearer", "env", "file", "header", "secret"];

/// A character that is shown, and the index of the one in the line that it stands for.
pub(super) type Shown = (char, usize);

/// Where a key or a value stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// Below `rules:`.
    Rules,
    /// In the settings of an agent or of the bridge.
    Settings,
    /// In the headers of an agent: the names are no secrets.
    Headers,
    /// In what is or names a secret.
    Secret,
}

/// A list or map that is open.
struct Frame {
    scope: Scope,
    /// The key of a list, which its items are the values of.
    key: Option<String>,
}

struct Masker<'l> {
    line: &'l [char],
    shown: Vec<Shown>,
    frames: Vec<Frame>,
    /// The key whose value comes next, and where that stands.
    key: Option<(String, Scope)>,
    /// The key is that of a list: another key may come instead of a value.
    is_item: bool,
    /// The line may have a key of the file itself.
    is_top: bool,
}

/// What may be seen of a line.
pub(super) fn mask(line: &Line<'_>) -> Vec<Shown> {
    let mut scope = Scope::Settings;
    let mut key = None;
    for (index, parent) in line.parents.iter().enumerate() {
        key = None;
        let text: Vec<char> = parent.chars().collect();
        for found in keys(&text) {
            scope = below(scope, &found, index == 0);
            key = Some(found).filter(|_| parent.trim_end().ends_with(':'));
        }
    }
    let is_item = key.is_some();
    let text: Vec<char> = line.text.chars().collect();
    let base = Frame { scope, key: key.clone() };
    let key = key.map(|key| (key, scope));
    let is_top = line.parents.is_empty();
    let mut masker = Masker { line: &text, shown: Vec::new(), frames: vec![base], key, is_item, is_top };
    masker.run();
    masker.shown
}

/// The keys of a line.
fn keys(line: &[char]) -> Vec<String> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < line.len() {
        let scalar = scalar(line, at, true);
        if scalar.colon.is_some() {
            found.push(scalar.text(line));
        }
        at = scalar.colon.unwrap_or(scalar.end).max(at) + 1;
    }
    found
}

/// Where the value of a key stands.
fn below(scope: Scope, key: &str, is_top: bool) -> Scope {
    match (scope, key) {
        (Scope::Secret, _) => Scope::Secret,
        (_, key) if is_secret(key) => Scope::Secret,
        (Scope::Settings, "auth" | "sign") => Scope::Secret,
        (Scope::Settings, "headers") => Scope::Headers,
        (Scope::Settings, "rules") if is_top => Scope::Rules,
        (Scope::Rules, "agents") => Scope::Settings,
        (scope, _) => scope,
    }
}

fn is_secret(key: &str) -> bool {
    let key = key.to_lowercase();
    SECRET.iter().any(|word| key.contains(word))
}

/// Whether a key or a value is more than one, in a line that is no YAML.
fn has_key_of_secret(text: &str) -> bool {
    text.contains(": ") && is_secret(text)
}

impl Masker<'_> {
    fn run(&mut self) {
        let mut at = 0;
        while let Some(c) = self.line.get(at).copied() {
            let frame = self.frames.last();
            let scope = frame.map_or(Scope::Secret, |frame| frame.scope);
            let after_blank = at.checked_sub(1).is_none_or(|before| self.line[before].is_whitespace());
            match c {
                '#' if after_blank && scope != Scope::Rules => return,
                '{' | '[' => {
                    let (key, scope) = self.key.take().map_or((None, scope), |(key, scope)| (Some(key), scope));
                    let key = key.filter(|_| c == '[');
                    self.key = key.clone().map(|key| (key, scope));
                    self.is_item = true;
                    self.frames.push(Frame { scope, key });
                }
                '}' | ']' => {
                    if self.frames.len() > 1 {
                        self.frames.pop();
                    }
                    self.key = None;
                }
                ',' => {
                    self.key = frame.and_then(|frame| frame.key.clone()).map(|key| (key, scope));
                    self.is_item = true;
                }
                '-' if after_blank && self.line.get(at + 1).is_none_or(|c| c.is_whitespace()) => {}
                c if c.is_whitespace() => {}
                _ => {
                    at = self.scalar(scope, at);
                    continue;
                }
            }
            self.shown.push((c, at));
            at += 1;
        }
    }

    /// Shows a key with its colon, or a value, and returns where it ends.
    fn scalar(&mut self, scope: Scope, at: usize) -> usize {
        let may_be_key = self.key.is_none() || self.is_item;
        let found = scalar(self.line, at, may_be_key);
        let text = found.text(self.line);
        let Some(colon) = found.colon else {
            let (key, scope) = self.key.as_ref().map_or(("", scope), |(key, scope)| (key.as_str(), *scope));
            self.show(at, found.end, visible(scope, key, &text, found.end - at));
            return found.end.max(at + 1);
        };
        let is_shown = match scope {
            Scope::Rules => !has_key_of_secret(&text),
            Scope::Settings | Scope::Headers => is_word(&text),
            Scope::Secret => OF_SECRETS.contains(&text.as_str()),
        };
        self.show(at, found.end, if is_shown { found.end - at } else { 0 });
        self.show(found.end, colon + 1, usize::MAX);
        let is_top = self.is_top && self.frames.len() <= 2;
        let value = below(scope, &text, is_top);
        self.is_item = false;
        let begin = (colon + 1..self.line.len()).find(|at| !self.line[*at].is_whitespace());
        let has_parts = begin.is_some_and(|begin| matches!(self.line[begin], '{' | '['));
        let is_named = value == Scope::Secret && scope == Scope::Secret && ["env", "file"].contains(&text.as_str());
        let refers = begin.is_some_and(|begin| is_reference(&scalar(self.line, begin, false).text(self.line)));
        self.key = Some((text, value));
        match begin {
            // Whatever follows may belong to the secret.
            Some(begin) if value == Scope::Secret && !has_parts && !is_named && !refers => {
                self.show(colon + 1, begin, usize::MAX);
                self.show(begin, self.line.len(), 0);
                self.line.len()
            }
            _ => colon + 1,
        }
    }

    /// Shows at most so many characters of a part of the line, and `***` for the rest.
    fn show(&mut self, from: usize, to: usize, most: usize) {
        let cut = from.saturating_add(most).min(to);
        self.shown.extend((from..cut).map(|at| (self.line[at], at)));
        if cut < to {
            self.shown.extend([('*', cut); 3]);
        }
    }
}

/// How many characters of a value may be seen. `length` counts its quotes too.
fn visible(scope: Scope, key: &str, value: &str, length: usize) -> usize {
    let is_variable = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
            && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
    };
    let is_seen = match (scope, key) {
        _ if is_reference(value) => true,
        _ if has_key_of_secret(value) => false,
        (Scope::Rules, _) | (_, "file") => true,
        // A secret in the place of the name of a variable looks otherwise.
        (_, "env") => is_variable(value),
        (Scope::Settings, key) => is_harmless(key),
        (Scope::Headers | Scope::Secret, _) => false,
    };
    let scheme = value.find("://");
    if !is_seen || (value.contains('@') && (scope != Scope::Rules || scheme.is_some())) {
        return 0;
    }
    let Some(scheme) = scheme.filter(|_| scope != Scope::Rules) else { return length };
    // Keys and names of hooks stand in paths and queries.
    let host = scheme + "://".len();
    let path = value[host..].find(['/', '?', '#']).map(|at| host + at + 1).filter(|at| *at < value.len());
    let quote = usize::from(length > value.chars().count());
    path.map_or(length, |path| value[..path].chars().count() + quote)
}

fn is_harmless(key: &str) -> bool {
    let is_status = key.len() == 3 && key.bytes().all(|byte| byte.is_ascii_digit());
    let mut settings = config::ALL.iter().filter_map(|setting| setting.path.rsplit('.').next());
    is_status || HARMLESS.contains(&key) || (!is_secret(key) && settings.any(|setting| setting == key))
}

/// `${NAME}`, without a default.
fn is_reference(value: &str) -> bool {
    let name = value.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    name.is_some_and(|name| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
}

fn is_word(key: &str) -> bool {
    key.len() <= 64 && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '$' | '<'))
}

/// A key or a value.
struct Scalar {
    begin: usize,
    end: usize,
    /// Where the colon of a key stands.
    colon: Option<usize>,
}

impl Scalar {
    /// The text without quotes.
    fn text(&self, line: &[char]) -> String {
        let text: String = line[self.begin..self.end].iter().collect();
        text.trim().trim_matches(['"', '\'']).to_owned()
    }
}

/// The scalar that begins here.
fn scalar(line: &[char], begin: usize, may_be_key: bool) -> Scalar {
    let is_blank = |at: usize| line.get(at).is_none_or(|c| c.is_whitespace());
    let mut at = begin;
    let quote = line.get(begin).copied().filter(|c| matches!(c, '"' | '\''));
    if let Some(quote) = quote {
        at += 1;
        while let Some(c) = line.get(at) {
            at += 1;
            match c {
                '\\' if quote == '"' => at += 1,
                c if *c == quote && line.get(at) == Some(c) && quote == '\'' => at += 1,
                c if *c == quote => break,
                _ => {}
            }
        }
        let end = at.min(line.len());
        let colon = (end..line.len()).find(|at| !is_blank(*at)).filter(|at| line[*at] == ':' && may_be_key);
        return Scalar { begin, end, colon };
    }
    let mut colon = None;
    while let Some(c) = line.get(at) {
        match c {
            '$' if line.get(at + 1) == Some(&'{') => {
                // A variable, with its braces.
                at = (at..line.len()).find(|at| line[*at] == '}').unwrap_or(line.len());
            }
            ',' | '[' | ']' | '{' | '}' => break,
            ':' if may_be_key && (is_blank(at + 1) || matches!(line[at + 1], ',' | '[' | ']' | '{' | '}')) => {
                colon = Some(at);
                break;
            }
            '#' if at > begin && is_blank(at - 1) => break,
            _ => {}
        }
        at += 1;
    }
    Scalar { begin, end: at.min(line.len()), colon }
}

#[cfg(test)]
mod tests;
