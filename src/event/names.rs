//! The names of event types and sources: read in any case and spelling, written in one.

use std::fmt;

/// Upper case, with `.`, `-` and blanks as `_`: `workflow.completed` is `WORKFLOW_COMPLETED`.
pub(super) fn canonical(name: &str) -> String {
    name.trim()
        .chars()
        .map(|c| match c {
            '.' | '-' | ' ' => '_',
            other => other.to_ascii_uppercase(),
        })
        .collect()
}

macro_rules! names {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$vmeta])* $variant,)+
            /// A name that this version does not know, as it was published.
            Other(Box<str>),
        }

        impl $name {
            /// The canonical names, as they are written.
            pub const NAMES: &'static [&'static str] = &[$($text),+];

            /// Reads a name in any case and spelling; an unknown one is kept as it is.
            pub fn read(name: &str) -> Self {
                match name {
                    $($text => return Self::$variant,)+
                    _ => {}
                }
                match canonical(name).as_str() {
                    $($text => Self::$variant,)+
                    _ => Self::Other(name.into()),
                }
            }

            /// The canonical spelling.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)+
                    Self::Other(name) => name,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

names! {
    /// What happened to a workflow.
    EventType {
        /// It was started.
        Triggered = "WORKFLOW_TRIGGERED",
        /// It ended well.
        Completed = "WORKFLOW_COMPLETED",
        /// It ended badly.
        Failed = "WORKFLOW_FAILED",
    }
}

names! {
    /// The system that an event comes from.
    Source {
        /// Apache Airflow.
        Airflow = "AIRFLOW",
        /// A LangGraph agent.
        LangGraph = "LANGGRAPH",
        /// A FastAPI service.
        FastApi = "FASTAPI",
        /// Dagster.
        Dagster = "DAGSTER",
        /// A job that `python -m workflow_runner run` has run.
        Runner = "RUNNER",
        /// A system that reports its runs in the format of OpenLineage.
        OpenLineage = "OPENLINEAGE",
    }
}
