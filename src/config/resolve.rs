//! One setting from its four sources, with its place in every message.

use std::{collections::BTreeMap, str::FromStr, time::Duration};

use super::{
    Sources,
    file::{Entry, File},
    keys::Key,
};

pub(super) struct Resolver<'a> {
    pub(super) sources: &'a Sources<'a>,
    pub(super) file: &'a File,
    pub(super) problems: &'a mut Vec<String>,
    /// Where each value came from, for what is found wrong with it later.
    pub(super) places: BTreeMap<&'static str, String>,
}

/// A value and where it stands.
struct Found {
    text: String,
    place: String,
}

impl Resolver<'_> {
    fn find(&mut self, key: &Key) -> Found {
        let found = self.look(key);
        self.places.insert(key.path, found.place.clone());
        found
    }

    fn look(&mut self, key: &Key) -> Found {
        if let Some(text) = self.sources.flags.get(key.path) {
            return Found { text: text.clone(), place: key.flag.unwrap_or(key.path).to_owned() };
        }
        if let Some(text) = (self.sources.env)(key.env).filter(|text| !text.is_empty()) {
            return Found { text, place: key.env.to_owned() };
        }
        match self.file.entries.get(key.path) {
            Some((place, Entry::Text(text))) => Found { text: text.clone(), place: place.clone() },
            Some((place, Entry::List(items))) => Found { text: items.join(","), place: place.clone() },
            Some((place, Entry::SecretEnv(_) | Entry::SecretFile(_))) => {
                self.problems.push(format!("{place}: `{}` is not a secret: write its value", key.path));
                Found { text: key.default.to_owned(), place: place.clone() }
            }
            None => Found { text: key.default.to_owned(), place: "default".to_owned() },
        }
    }

    /// A value that must not be empty.
    pub(super) fn text(&mut self, key: &Key) -> String {
        let found = self.find(key);
        if found.text.trim().is_empty() {
            self.problems.push(format!("{}: `{}` is empty: {}", found.place, key.path, key.help));
        }
        self.check_characters(key, &found);
        found.text
    }

    fn check_characters(&mut self, key: &Key, found: &Found) {
        // The rest is not shown: a key in the place of its path, or a password in an address, has line breaks too.
        if let Some((at, c)) = found.text.chars().enumerate().find(|(_, c)| c.is_control()) {
            self.problems.push(format!(
                "{}: `{}`: expected text without control characters, found `{}` as its character {} (the rest is not shown)",
                found.place,
                key.path,
                c.escape_debug(),
                at + 1
            ));
        }
    }

    /// A value that may be absent.
    pub(super) fn optional(&mut self, key: &Key) -> Option<String> {
        let found = self.find(key);
        self.check_characters(key, &found);
        Some(found.text).filter(|text| !text.trim().is_empty())
    }

    pub(super) fn list(&mut self, key: &Key) -> Vec<String> {
        let text = self.text(key);
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }

    /// A value of another type; on a mistake the default stands in, so that checking goes on.
    pub(super) fn parsed<T: FromStr + Default>(&mut self, key: &Key, expected: &str) -> T {
        let found = self.find(key);
        if let Ok(value) = found.text.trim().parse() {
            return value;
        }
        let shown = found.text.escape_debug();
        self.problems.push(format!("{}: `{}`: expected {expected}, found `{shown}`", found.place, key.path));
        key.default.parse().unwrap_or_default()
    }

    pub(super) fn duration(&mut self, key: &Key) -> Duration {
        let found = self.find(key);
        match humantime::parse_duration(found.text.trim()) {
            Ok(duration) => duration,
            Err(error) => {
                self.problems.push(format!(
                    "{}: `{}`: expected a duration such as 8s, 90m or 7d, found `{}` ({error})",
                    found.place,
                    key.path,
                    found.text.escape_debug()
                ));
                humantime::parse_duration(key.default).unwrap_or_default()
            }
        }
    }

    /// A secret: the environment's value, or what bridge.yaml points to. Never shown.
    pub(super) fn secret(&mut self, key: &Key) -> Option<String> {
        if let Some(value) = (self.sources.env)(key.env).filter(|value| !value.is_empty()) {
            self.places.insert(key.path, key.env.to_owned());
            return self.usable(key.path, key.env, &format!("the environment variable {}", key.env), &value);
        }
        let (place, entry) = self.file.entries.get(key.path)?.clone();
        self.places.insert(key.path, place.clone());
        self.reveal(key.path, &place, &entry)
    }

    /// librdkafka's own properties, secrets among them revealed.
    pub(super) fn properties(&mut self) -> BTreeMap<String, String> {
        let mut properties = BTreeMap::new();
        for (name, (place, entry)) in self.file.properties.clone() {
            let value = match entry {
                Entry::Text(text) => Some(text),
                other => self.reveal(&name, &place, &other),
            };
            properties.extend(value.map(|value| (name, value)));
        }
        properties
    }

    fn reveal(&mut self, path: &str, place: &str, entry: &Entry) -> Option<String> {
        match entry {
            Entry::Text(_) | Entry::List(_) => {
                self.problems.push(format!(
                    "{place}: `{path}` stands in the file: write {{env: NAME}} or {{file: PATH}} instead, and change it \
                     where it was readable"
                ));
                None
            }
            Entry::SecretEnv(name) => {
                let Some(value) = (self.sources.env)(name).filter(|value| !value.is_empty()) else {
                    self.problems.push(format!("{place}: `{path}`: the environment variable {name} is not set"));
                    return None;
                };
                self.usable(path, place, &format!("the environment variable {name}"), &value)
            }
            Entry::SecretFile(file) => match crate::files::read_text_once(file) {
                Ok(text) => self.usable(path, place, &format!("the file {}", file.display()), text.trim_end()),
                Err(error) => {
                    self.problems.push(format!("{place}: `{path}`: the file {}: {error}", file.display()));
                    None
                }
            },
        }
    }

    /// A secret without the line break that its source ends with. One that is blank or has a control character is a
    /// mistake: the character is shown, and nothing else of it.
    fn usable(&mut self, path: &str, place: &str, source: &str, secret: &str) -> Option<String> {
        let secret = secret.trim_end_matches(['\r', '\n']);
        if secret.trim().is_empty() {
            self.problems.push(format!("{place}: `{path}`: {source} is blank: put the secret into it"));
            return None;
        }
        // A private key in PEM has several lines.
        if let Some((at, found)) = secret.chars().enumerate().find(|(_, c)| c.is_control())
            && !path.contains(".pem")
        {
            let found = found.escape_debug();
            self.problems.push(format!(
                "{place}: `{path}`: {source}: expected a secret without control characters, found `{found}` as its \
                 character {} (the rest is not shown)",
                at + 1
            ));
            return None;
        }
        Some(secret.to_owned())
    }
}
