//! Why a record is not an event.

/// A record that cannot be read as an event. It goes to the dead-letter topic with this reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Poison {
    /// The record has no value at all.
    #[error(
        "expected a JSON event, found a tombstone (a record without a value): publish the event as the record's value"
    )]
    Tombstone,
    /// The value has no bytes but white space.
    #[error("expected a JSON event, found an empty value: publish the event as the record's value")]
    Empty,
    /// The value is not text.
    #[error("expected UTF-8, found byte {byte:#04x} at position {position}: publish the event as JSON in UTF-8")]
    NotUtf8 {
        /// How many bytes before it were well-formed.
        position: usize,
        /// The first offending byte.
        byte: u8,
    },
    /// The value is text but not JSON, or JSON beyond the limits of depth and number range.
    #[error("expected one JSON object: {reason}")]
    NotJson {
        /// What the parser says, with line and column.
        reason: String,
    },
    /// The value is JSON but not an object.
    #[error("expected a JSON object, found {found}")]
    NotAnObject {
        /// The JSON type that was found.
        found: &'static str,
    },
    /// A field that every event has is absent.
    #[error(
        "field `{field}` is missing: an event has event_id, event_type, timestamp, source, workflow_id and workflow_run_id"
    )]
    MissingField {
        /// The field's name.
        field: &'static str,
    },
    /// An event in another dialect lacks something that has no default.
    #[error("{what} lacks `{attribute}`: {remedy}")]
    MissingAttribute {
        /// What the record seems to be.
        what: &'static str,
        /// The field, attribute or header.
        attribute: &'static str,
        /// What to write, and where.
        remedy: &'static str,
    },
    /// A field has another JSON type.
    #[error("field `{field}`: expected {expected}, found {found}")]
    WrongType {
        /// The field's name.
        field: &'static str,
        /// The JSON type that it has to be.
        expected: &'static str,
        /// The JSON type that was found.
        found: &'static str,
    },
    /// A field has the right type and an impossible value.
    #[error("field `{field}`: {reason}")]
    InvalidValue {
        /// The field's name.
        field: &'static str,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// The record is larger than the bridge reads.
    #[error("the record is too large to be read: it has {found} {what}, at most {limit} are allowed: {remedy}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much there is.
        found: usize,
        /// The limit.
        limit: usize,
        /// What to do.
        remedy: &'static str,
    },
    /// The record would take too much memory when it is decoded, since it consists of many small values.
    #[error(
        "the record is too large to be read: decoded, its many small values would take more than the {limit} bytes of \
         memory that are allowed: {remedy}"
    )]
    TooLargeDecoded {
        /// The limit.
        limit: usize,
        /// What to do.
        remedy: &'static str,
    },
}

impl Poison {
    /// Every [`kind`](Self::kind).
    pub const KINDS: &[&str] = &[
        "tombstone",
        "empty",
        "not_utf8",
        "not_json",
        "not_an_object",
        "missing_field",
        "wrong_type",
        "invalid_value",
        "too_large",
    ];

    /// A stable name for labels and the `dlq-reason` header.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Tombstone => "tombstone",
            Self::Empty => "empty",
            Self::NotUtf8 { .. } => "not_utf8",
            Self::NotJson { .. } => "not_json",
            Self::NotAnObject { .. } => "not_an_object",
            Self::MissingField { .. } | Self::MissingAttribute { .. } => "missing_field",
            Self::WrongType { .. } => "wrong_type",
            Self::InvalidValue { .. } => "invalid_value",
            Self::TooLarge { .. } | Self::TooLargeDecoded { .. } => "too_large",
        }
    }
}
