//! The formats that events are read from.

use std::fmt;

/// The format that a publisher wrote an event in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// The project's own wire format.
    Native,
    /// The format of the event producer in Airflow's Kafka provider.
    Airflow,
    /// CloudEvents 1.0, the attributes and the data in the value.
    CloudEventsStructured,
    /// CloudEvents 1.0, the attributes in `ce_` headers.
    CloudEventsBinary,
    /// A run event of OpenLineage.
    OpenLineage,
    /// What a service tells others, in the envelope of the Python package `integration_events`.
    Integration,
}

impl Dialect {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Native,
        Self::Airflow,
        Self::CloudEventsStructured,
        Self::CloudEventsBinary,
        Self::OpenLineage,
        Self::Integration,
    ];

    /// A stable name for logs and documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Airflow => "airflow",
            Self::CloudEventsStructured => "cloudevents-structured",
            Self::CloudEventsBinary => "cloudevents-binary",
            Self::OpenLineage => "openlineage",
            Self::Integration => "integration",
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
