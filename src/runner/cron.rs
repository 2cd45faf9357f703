//! Cron expressions: five fields, as every orchestrator reads them, or a preset.
//!
//! Pure. It says whether an expression has a time at all, and where it is wrong; it computes no times.

use crate::yaml::{quoted, suggestion};

/// The presets, and what they stand for.
const PRESETS: [(&str, &str); 8] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@quarterly", "0 0 1 */3 *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

struct Field {
    name: &'static str,
    low: u32,
    high: u32,
    /// The names of its values, the first being `low`.
    names: &'static [&'static str],
}

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

const FIELDS: [Field; 5] = [
    Field { name: "minute", low: 0, high: 59, names: &[] },
    Field { name: "hour", low: 0, high: 23, names: &[] },
    Field { name: "day of the month", low: 1, high: 31, names: &[] },
    Field { name: "month", low: 1, high: 12, names: &MONTHS },
    // 7 is Sunday too.
    Field { name: "day of the week", low: 0, high: 7, names: &DAYS },
];

/// The days of the longest February and of the other months.
const LENGTHS: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// The expression in five fields, or what is wrong with it.
pub(super) fn fields(expression: &str) -> Result<String, String> {
    let expression = expression.trim();
    if expression.starts_with('@') {
        return match PRESETS.iter().find(|(name, _)| name.eq_ignore_ascii_case(expression)) {
            Some((_, fields)) => Ok((*fields).to_owned()),
            None => Err(format!(
                "expected a cron expression or one of {}, found {}{}",
                PRESETS.map(|(name, _)| name).join(", "),
                quoted(expression),
                suggestion(expression, PRESETS.iter().map(|(name, _)| *name))
            )),
        };
    }
    let parts: Vec<&str> = expression.split_ascii_whitespace().collect();
    let Ok([minute, hour, day, month, weekday]) = <[&str; 5]>::try_from(parts.as_slice()) else {
        return Err(format!(
            "expected five fields (minute, hour, day of the month, month, day of the week), found {} in {}",
            parts.len(),
            quoted(expression)
        ));
    };
    let mut sets = [0_u64; 5];
    for ((text, field), set) in [minute, hour, day, month, weekday].into_iter().zip(&FIELDS).zip(&mut sets) {
        *set = values(text, field).map_err(|problem| format!("{}: {problem}", field.name))?;
    }
    // With a day of the week, a day matches that is either of the two.
    if weekday.starts_with('*') && !LENGTHS.iter().zip(1..).any(|(length, month)| has_day(sets, month, *length)) {
        return Err(format!("no month that it names has such a day: {} never comes", quoted(expression)));
    }
    Ok(parts.join(" "))
}

fn has_day(sets: [u64; 5], month: u32, length: u32) -> bool {
    sets[3] & (1 << month) != 0 && (1..=length).any(|day| sets[2] & (1 << day) != 0)
}

/// The values of a field, a bit for each.
fn values(text: &str, field: &Field) -> Result<u64, String> {
    let mut set = 0;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (part, None),
        };
        let (low, high) = match range.split_once('-') {
            Some((low, high)) => (value(low, field)?, value(high, field)?),
            None if range == "*" => (field.low, field.high),
            // `5/15` begins at 5.
            None if step.is_some() => (value(range, field)?, field.high),
            None => (value(range, field)?, value(range, field)?),
        };
        if low > high {
            return Err(format!("expected a range upwards, found {}", quoted(range)));
        }
        let step = match step {
            None => 1,
            Some(step) => number(step)
                .filter(|step| (1..=field.high).contains(step))
                .ok_or_else(|| format!("expected a step from 1 to {}, found {}", field.high, quoted(step)))?,
        };
        let mut at = low;
        while at <= high {
            set |= 1 << at;
            at += step;
        }
    }
    Ok(set)
}

fn value(text: &str, field: &Field) -> Result<u32, String> {
    let by_name = field.names.iter().zip(field.low..).find(|(name, _)| name.eq_ignore_ascii_case(text));
    if let Some((_, value)) = by_name {
        return Ok(value);
    }
    if let Some(value) = number(text).filter(|value| (field.low..=field.high).contains(value)) {
        return Ok(value);
    }
    let names = match field.names {
        [first, .., last] => format!(", or {first} to {last}"),
        _ => String::new(),
    };
    Err(format!("expected {} to {}{names}, found {}", field.low, field.high, quoted(text)))
}

/// One or two digits.
fn number(text: &str) -> Option<u32> {
    let is_number = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_orchestrator_reads_is_accepted() {
        for (text, expected) in [
            ("0 * * * *", "0 * * * *"),
            ("  */15  8-18  *  *  mon-fri ", "*/15 8-18 * * mon-fri"),
            ("0,30 2 1,15 JAN,Jul *", "0,30 2 1,15 JAN,Jul *"),
            ("5/15 0 * * 7", "5/15 0 * * 7"),
            ("0 0 29 2 *", "0 0 29 2 *"),
            // Either day matches, so a Monday does.
            ("0 0 30 2 1", "0 0 30 2 1"),
            ("@Daily", "0 0 * * *"),
        ] {
            assert_eq!(fields(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn each_mistake_is_named() {
        for (text, expected) in [
            ("61 * * * *", "minute: expected 0 to 59, found \"61\""),
            ("* 24 * * *", "hour: expected 0 to 23, found \"24\""),
            ("* * 0 * *", "day of the month: expected 1 to 31, found \"0\""),
            ("* * * foo *", "month: expected 1 to 12, or jan to dec, found \"foo\""),
            ("* * * * 8", "day of the week: expected 0 to 7, or sun to sat, found \"8\""),
            ("30-10 * * * *", "minute: expected a range upwards, found \"30-10\""),
            ("*/0 * * * *", "minute: expected a step from 1 to 59, found \"0\""),
            (",1 * * * *", "minute: expected 0 to 59, found \"\""),
            ("0 0 31 2,4 *", "no month that it names has such a day: \"0 0 31 2,4 *\" never comes"),
            (
                "0 0 * *",
                "expected five fields (minute, hour, day of the month, month, day of the week), found 4 in \"0 0 * *\"",
            ),
        ] {
            assert_eq!(fields(text), Err(expected.to_owned()), "{text}");
        }
        let preset = fields("@dayly").unwrap_err();
        assert!(preset.ends_with("found \"@dayly\": did you mean `@daily`?"), "{preset}");
    }
}
