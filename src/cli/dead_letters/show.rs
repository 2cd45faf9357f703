//! `dead-letters show`: letters whole, with the records that they are of.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Args;
use serde_json::{Value, json};

use super::{
    super::{
        flags::{OutputFlag, Settings},
        output::{self, fail},
    },
    list,
    pass::{Context, Pass},
    select::{Filter, Letter},
};
use crate::{bridge::Exit, yaml::excerpt};

/// How many letters are shown unless `--limit` says otherwise.
const LETTERS: usize = 10;
/// The most characters of a value, and of a header, that are shown in text.
const MAX_VALUE: usize = 4_096;
const MAX_HEADER: usize = 1_024;

/// Flags of `dead-letters show`.
#[derive(Debug, Args)]
pub(super) struct Show {
    #[command(flatten)]
    filter: Filter,
    /// Only the value of the record, as it was published; of one dead letter
    #[arg(long, conflicts_with = "output")]
    raw: bool,
    /// The most dead letters that are shown
    #[arg(long, value_name = "N", default_value_t = LETTERS)]
    limit: usize,
    #[command(flatten)]
    form: OutputFlag,
    #[command(flatten)]
    settings: Settings,
}

impl Show {
    pub(super) fn main(&self) -> Result<ExitCode, ExitCode> {
        if self.raw && self.filter.letter.len() != 1 {
            return Err(fail(Exit::Usage, &"--raw shows one dead letter: name it with --letter"));
        }
        let context = Context::open(&self.settings)?;
        let (mut shown, mut pages) = (0, Vec::new());
        for topic in context.asked(&self.filter)? {
            Pass::open(&context, topic, &self.filter)?.letters(&self.filter, &mut |letter| {
                if shown >= self.limit {
                    return false;
                }
                shown += 1;
                if self.raw {
                    let mut stdout = io::stdout().lock();
                    output::written(stdout.write_all(letter.value.unwrap_or_default()).and_then(|()| stdout.flush()));
                } else if self.form.is_json() {
                    pages.push(page(letter));
                } else {
                    output::result(format_args!("{}{}", if shown > 1 { "\n" } else { "" }, text(letter)));
                }
                true
            })?;
        }
        if self.form.is_json() {
            output::result(format_args!("{}", output::json(&json!({"letters": pages}))));
        }
        if let Some(exit) = context.interrupt.exit() {
            return Ok(exit);
        }
        if shown == 0 {
            return Err(fail(
                Exit::Data,
                &format_args!("there is no such dead letter in {}", context.topics.join(", ")),
            ));
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn text(letter: &Letter<'_>) -> String {
    let page = list::one(letter);
    let mut text = format!("dead letter {}", letter.place);
    for (name, value) in page.as_object().into_iter().flatten() {
        let value = match value {
            Value::Null => continue,
            Value::String(text) => excerpt(text, MAX_HEADER),
            value => value.to_string(),
        };
        if name != "letter" {
            let _ = write!(text, "\n  {name}: {value}");
        }
    }
    let utf8 = |bytes: &[u8], most| excerpt(&String::from_utf8_lossy(bytes), most);
    let _ = write!(text, "\n  key: {}", letter.key.map_or_else(|| "none".to_owned(), |key| utf8(key, MAX_HEADER)));
    for (name, value) in letter.original_headers() {
        let value = value.map_or_else(|| "null".to_owned(), |value| utf8(value, MAX_HEADER));
        let _ = write!(text, "\n  header {}: {value}", excerpt(name, MAX_HEADER));
    }
    let value = letter.value.map_or_else(|| "none".to_owned(), |value| utf8(value, MAX_VALUE));
    let _ = write!(text, "\n  value: {value}");
    text
}

/// Bytes that are no UTF-8 are shown with replacement characters.
fn page(letter: &Letter<'_>) -> Value {
    let text = |bytes: &[u8]| Value::from(String::from_utf8_lossy(bytes));
    let headers = letter.original_headers().map(|(name, value)| json!({"name": name, "value": value.map(text)}));
    let mut page = list::one(letter);
    page["headers"] = headers.collect();
    page["key"] = letter.key.map_or(Value::Null, text);
    page["value"] = letter.value.map_or(Value::Null, text);
    page
}
