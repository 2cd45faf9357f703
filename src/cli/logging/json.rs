//! Formats a log line as one JSON object: `timestamp`, `level`, the fields, `message` and `target`.
//!
//! Invariant: a number is a JSON number, also with 128 bits such as `Duration::as_millis`, which
//! tracing-subscriber's own format writes as text; and no key is in a line twice.

use std::{error::Error, fmt, ops::Range};

use serde::Serialize;
use serde_json::{Number, Value};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::Writer,
        time::{FormatTime as _, SystemTime},
    },
    registry::LookupSpan,
};

/// The format of `--log-format json`.
pub(super) struct Json;

/// Room for what most lines have: fields, and their bytes.
const ROOM: (usize, usize) = (16, 512);

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        let mut fields = Fields::new();
        event.record(&mut fields);
        fields.set("target", metadata.target());
        writer.write_char('{')?;
        if !fields.has("timestamp") {
            writer.write_str("\"timestamp\":\"")?;
            SystemTime.format_time(&mut writer)?;
            writer.write_str("\",")?;
        }
        if !fields.has("level") {
            write!(writer, "\"level\":\"{}\",", metadata.level())?;
        }
        fields.write(&mut writer)?;
        writer.write_str("}\n")
    }
}

/// The fields of a line, as JSON.
struct Fields {
    text: Vec<u8>,
    /// Where each is in the text, with its name.
    parts: Vec<(&'static str, Range<usize>)>,
}

impl Fields {
    fn new() -> Self {
        Self { parts: Vec::with_capacity(ROOM.0), text: Vec::with_capacity(ROOM.1) }
    }

    fn has(&self, name: &str) -> bool {
        self.parts.iter().any(|(found, _)| *found == name)
    }

    /// A name that comes again replaces the one before.
    fn set(&mut self, name: &'static str, value: impl Serialize) {
        self.parts.retain(|(found, _)| *found != name);
        let begin = self.text.len();
        let mut write = || {
            serde_json::to_writer(&mut self.text, name)?;
            self.text.push(b':');
            serde_json::to_writer(&mut self.text, &value)
        };
        // A text or a number is written to a vector without fail.
        if write().is_ok() {
            self.parts.push((name, begin..self.text.len()));
        }
    }

    fn write(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let text = str::from_utf8(&self.text).map_err(|_| fmt::Error)?;
        for (n, (_, part)) in self.parts.iter().enumerate() {
            if n > 0 {
                writer.write_char(',')?;
            }
            writer.write_str(text.get(part.clone()).ok_or(fmt::Error)?)?;
        }
        Ok(())
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field.name(), value);
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        let number = Number::from_i128(value).map(Value::Number);
        self.set(field.name(), number.unwrap_or_else(|| value.to_string().into()));
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        let number = Number::from_u128(value).map(Value::Number);
        self.set(field.name(), number.unwrap_or_else(|| value.to_string().into()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field.name(), value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field.name(), value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.set(field.name(), value.to_string());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field.name(), format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
        time::Duration,
    };

    use tracing::info;

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_number_is_a_json_number_whatever_its_type() {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let logger = tracing_subscriber::fmt().event_format(Json).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(logger, || {
            let error = io::Error::other("broken");
            info!(
                wait_ms = Duration::from_secs(2).as_millis(), count = 3_usize, below = -1_i64, share = 0.5, open = true,
                id = "007", quoted = "a \"b\"\n", target = "a field too", displayed = %"text", nothing = None::<u64>, some = Some(4_u64),
                %error, level = "a field", "logged"
            );
        });
        let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
        let line: Value = serde_json::from_str(text.strip_suffix('\n').unwrap()).unwrap();
        assert_eq!(line["wait_ms"], 2_000);
        assert_eq!(line["count"], 3);
        assert_eq!(line["below"], -1);
        assert_eq!(line["share"], 0.5);
        assert_eq!(line["open"], true);
        assert_eq!(line["some"], 4);
        assert_eq!(line["id"], "007");
        assert_eq!(line["quoted"], "a \"b\"\n");
        assert_eq!(line["displayed"], "text");
        assert_eq!(line["error"], "broken");
        assert_eq!(line["message"], "logged");
        assert!(line.get("nothing").is_none(), "{line}");
        assert_eq!((&line["level"], &line["target"]), (&"a field".into(), &module_path!().into()));
        for name in ["timestamp", "level", "target"] {
            assert_eq!(text.matches(&format!("\"{name}\"")).count(), 1, "{text}");
        }
    }
}
