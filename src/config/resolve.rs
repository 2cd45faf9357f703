//! Resolves one setting from its four sources. Every message names the location of the value.

use std::{collections::BTreeMap, str::FromStr, time::Duration};

use super::{
    file::{FileValue, SettingsFile},
    keys::{self, Key},
    ledger_topic,
    problem::{Location, Problem},
    sources::Sources,
};
use crate::{
    files,
    kafka::KafkaSettings,
    yaml::{shown_path, shown_variable},
};

pub(super) struct Resolver<'a> {
    pub(super) sources: &'a Sources<'a>,
    pub(super) file: &'a SettingsFile,
    pub(super) problems: &'a mut Vec<Problem>,
    /// The location of each value, for problems that are found later.
    pub(super) locations: BTreeMap<&'static str, Location>,
}

/// A value and its location.
struct Located {
    text: String,
    location: Location,
}

impl Resolver<'_> {
    fn problem(&mut self, location: &Location, message: String) {
        self.problems.push(Problem { location: location.clone(), message });
    }

    fn find(&mut self, key: &Key) -> Located {
        let found = self.locate(key);
        self.locations.insert(key.path, found.location.clone());
        found
    }

    fn locate(&mut self, key: &Key) -> Located {
        if let Some(text) = self.sources.flags.get(key.path) {
            return Located { text: text.clone(), location: Location::Flag(key.flag.unwrap_or(key.path)) };
        }
        if let Some(text) = (self.sources.env)(key.env).filter(|text| !text.is_empty()) {
            return Located { text, location: Location::Variable(key.env) };
        }
        match self.file.entries.get(key.path) {
            Some((location, FileValue::Text(text))) => Located { text: text.clone(), location: location.clone() },
            Some((location, FileValue::List(items))) => Located { text: items.join(","), location: location.clone() },
            Some((location, FileValue::SecretEnv(_) | FileValue::SecretFile(_))) => {
                let message = format!("`{}` is not a secret: write its value", key.path);
                self.problems.push(Problem { location: location.clone(), message });
                Located { text: key.default.to_owned(), location: location.clone() }
            }
            None => Located { text: key.default.to_owned(), location: Location::Default },
        }
    }

    /// A required value.
    pub(super) fn text(&mut self, key: &Key) -> String {
        let found = self.find(key);
        if found.text.trim().is_empty() {
            self.problem(&found.location, format!("`{}` is empty: {}", key.path, key.help));
        }
        self.check_characters(key, &found);
        found.text
    }

    fn check_characters(&mut self, key: &Key, found: &Located) {
        // The rest is not shown: it may be a key instead of its path, or an address with a password.
        if let Some((at, c)) = found.text.chars().enumerate().find(|(_, c)| c.is_control()) {
            let message = format!(
                "`{}`: expected text without control characters, found `{}` as its character {} (the rest is not shown)",
                key.path,
                c.escape_debug(),
                at + 1
            );
            self.problem(&found.location, message);
        }
    }

    /// An optional value.
    pub(super) fn optional(&mut self, key: &Key) -> Option<String> {
        let found = self.find(key);
        self.check_characters(key, &found);
        Some(found.text).filter(|text| !text.trim().is_empty())
    }

    pub(super) fn list(&mut self, key: &Key) -> Vec<String> {
        let text = self.text(key);
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }

    /// A value of another type. After a problem the default is used, so that checking goes on.
    pub(super) fn parsed<T: FromStr + Default>(&mut self, key: &Key, expected: &str) -> T {
        let found = self.find(key);
        if let Ok(value) = found.text.trim().parse() {
            return value;
        }
        let shown = found.text.escape_debug();
        self.problem(&found.location, format!("`{}`: expected {expected}, found `{shown}`", key.path));
        key.default.parse().unwrap_or_default()
    }

    /// The topic that carries the ledger; none when that is off, or after a problem.
    pub(super) fn ledger_topic(&mut self, kafka: &KafkaSettings) -> Option<String> {
        let found = self.find(keys::LEDGER_TOPIC);
        let group_is_bad =
            self.problems.iter().any(|problem| problem.message.contains(&format!("`{}`", keys::GROUP.path)));
        ledger_topic::topic(&found.text, kafka).unwrap_or_else(|problem| {
            // The name follows from the group, whose own problem is reported.
            if group_is_bad {
                return None;
            }
            self.problem(&found.location, format!("`{}`: {problem}", keys::LEDGER_TOPIC.path));
            None
        })
    }

    pub(super) fn duration(&mut self, key: &Key) -> Duration {
        let found = self.find(key);
        match humantime::parse_duration(found.text.trim()) {
            Ok(duration) => duration,
            Err(error) => {
                let message = format!(
                    "`{}`: expected a duration such as 8s, 90m or 7d, found `{}` ({error})",
                    key.path,
                    found.text.escape_debug()
                );
                self.problem(&found.location, message);
                humantime::parse_duration(key.default).unwrap_or_default()
            }
        }
    }

    /// A duration, or none for `off`.
    pub(super) fn duration_or_off(&mut self, key: &Key) -> Option<Duration> {
        if self.find(key).text.trim().eq_ignore_ascii_case("off") { None } else { Some(self.duration(key)) }
    }

    /// A secret from the environment, or from where bridge.yaml points to. It is never shown.
    pub(super) fn secret(&mut self, key: &Key) -> Option<String> {
        if let Some(value) = (self.sources.env)(key.env).filter(|value| !value.is_empty()) {
            let location = Location::Variable(key.env);
            self.locations.insert(key.path, location.clone());
            return self.check_secret(key.path, &location, &format!("the environment variable {}", key.env), &value);
        }
        let (location, entry) = self.file.entries.get(key.path)?.clone();
        self.locations.insert(key.path, location.clone());
        self.resolve_secret(key.path, &location, &entry)
    }

    /// librdkafka's properties, with the secrets among them resolved.
    pub(super) fn properties(&mut self) -> BTreeMap<String, String> {
        let mut properties = BTreeMap::new();
        for (name, (location, entry)) in self.file.properties.clone() {
            let value = match entry {
                FileValue::Text(text) => Some(text),
                other => self.resolve_secret(&name, &location, &other),
            };
            properties.extend(value.map(|value| (name, value)));
        }
        properties
    }

    fn resolve_secret(&mut self, path: &str, location: &Location, entry: &FileValue) -> Option<String> {
        match entry {
            FileValue::Text(_) | FileValue::List(_) => {
                let message = format!(
                    "`{path}`: a secret must not be in the file: write {{env: NAME}} or {{file: PATH}} instead, and \
                     replace the secret where the file was readable"
                );
                self.problem(location, message);
                None
            }
            FileValue::SecretEnv(name) => {
                let Some(value) = (self.sources.env)(name).filter(|value| !value.is_empty()) else {
                    self.problem(location, format!("`{path}`: {} is not set: set it", shown_variable(name)));
                    return None;
                };
                self.check_secret(path, location, &format!("the environment variable {name}"), &value)
            }
            FileValue::SecretFile(file) => match files::read_text_once(file) {
                Ok(text) => self.check_secret(path, location, &format!("the file {}", file.display()), text.trim_end()),
                Err(error) => {
                    let file = shown_path(&file.to_string_lossy());
                    self.problem(location, format!("`{path}`: the file {file}: {error}"));
                    None
                }
            },
        }
    }

    /// Trims the line break at the end of a secret. Reports one that is blank or has a control character; nothing of it
    /// is shown but that character.
    fn check_secret(&mut self, path: &str, location: &Location, source: &str, secret: &str) -> Option<String> {
        let secret = secret.trim_end_matches(['\r', '\n']);
        if secret.trim().is_empty() {
            self.problem(location, format!("`{path}`: {source} is blank: put the secret into it"));
            return None;
        }
        // A private key in PEM has several lines.
        if let Some((at, found)) = secret.chars().enumerate().find(|(_, c)| c.is_control())
            && !path.contains(".pem")
        {
            let found = found.escape_debug();
            let message = format!(
                "`{path}`: {source}: expected a secret without control characters, found `{found}` as its \
                 character {} (the rest is not shown)",
                at + 1
            );
            self.problem(location, message);
            return None;
        }
        Some(secret.to_owned())
    }
}
