//! The types of the settings, and values whose type is known only when the program runs.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use crate::connection::{Password, shown};

/// The type of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingKind {
    /// Text.
    Text,
    /// Text that is shown nowhere.
    Secret,
    /// The path of a file or a folder.
    Path,
    /// A whole number.
    Number,
    /// Names and values of librdkafka properties.
    Properties,
}

impl SettingKind {
    /// The kind as a lower-case word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Secret => "secret",
            Self::Path => "path",
            Self::Number => "number",
            Self::Properties => "properties",
        }
    }
}

/// The value of a setting that is set by its name.
#[derive(Clone, PartialEq, Eq)]
pub enum SettingValue {
    /// For [`SettingKind::Text`] and [`SettingKind::Secret`].
    Text(String),
    /// For [`SettingKind::Path`].
    Path(PathBuf),
    /// For [`SettingKind::Number`].
    Number(u64),
    /// For [`SettingKind::Properties`].
    Properties(BTreeMap<String, String>),
}

/// A whole number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Number(pub(super) u64);

impl From<u64> for Number {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

/// A duration in whole milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Millis(pub(super) u64);

impl From<Duration> for Millis {
    fn from(duration: Duration) -> Self {
        Self(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }
}

/// librdkafka properties. `Debug` leaves the secrets out.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties(pub(super) BTreeMap<String, String>);

impl From<BTreeMap<String, String>> for Properties {
    fn from(properties: BTreeMap<String, String>) -> Self {
        Self(properties)
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        shown(&self.0).fmt(f)
    }
}

/// A Rust type that a setting can have.
pub(super) trait SettingType: Sized {
    const KIND: SettingKind;

    /// The setting's value; `None` when the value is of another kind.
    fn read(value: SettingValue) -> Option<Self>;

    /// The value, for access by name; `None` for no value, and for a secret.
    fn value(&self) -> Option<SettingValue>;
}

impl SettingType for String {
    const KIND: SettingKind = SettingKind::Text;

    fn read(value: SettingValue) -> Option<Self> {
        if let SettingValue::Text(text) = value { Some(text) } else { None }
    }

    fn value(&self) -> Option<SettingValue> {
        Some(SettingValue::Text(self.clone()))
    }
}

impl SettingType for Option<String> {
    const KIND: SettingKind = SettingKind::Text;

    fn read(value: SettingValue) -> Option<Self> {
        String::read(value).map(Some)
    }

    fn value(&self) -> Option<SettingValue> {
        self.clone().map(SettingValue::Text)
    }
}

impl SettingType for Option<Password> {
    const KIND: SettingKind = SettingKind::Secret;

    fn read(value: SettingValue) -> Option<Self> {
        String::read(value).map(Password::new).map(Some)
    }

    fn value(&self) -> Option<SettingValue> {
        None
    }
}

impl SettingType for Option<PathBuf> {
    const KIND: SettingKind = SettingKind::Path;

    fn read(value: SettingValue) -> Option<Self> {
        if let SettingValue::Path(path) = value { Some(Some(path)) } else { None }
    }

    fn value(&self) -> Option<SettingValue> {
        self.clone().map(SettingValue::Path)
    }
}

impl SettingType for Number {
    const KIND: SettingKind = SettingKind::Number;

    fn read(value: SettingValue) -> Option<Self> {
        if let SettingValue::Number(number) = value { Some(Self(number)) } else { None }
    }

    fn value(&self) -> Option<SettingValue> {
        Some(SettingValue::Number(self.0))
    }
}

impl SettingType for Millis {
    const KIND: SettingKind = SettingKind::Number;

    fn read(value: SettingValue) -> Option<Self> {
        Number::read(value).map(|Number(millis)| Self(millis))
    }

    fn value(&self) -> Option<SettingValue> {
        Some(SettingValue::Number(self.0))
    }
}

impl SettingType for Properties {
    const KIND: SettingKind = SettingKind::Properties;

    fn read(value: SettingValue) -> Option<Self> {
        if let SettingValue::Properties(properties) = value { Some(Self(properties)) } else { None }
    }

    fn value(&self) -> Option<SettingValue> {
        (!self.0.is_empty()).then(|| SettingValue::Properties(self.0.clone()))
    }
}
