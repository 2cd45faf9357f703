//! The query of `/api/events`. Pure.

/// The most events that are listed unless the query says otherwise.
const LIMIT: usize = 100;
const MAX_LIMIT: usize = 1_000;

/// Which events are asked for: those that all of it holds for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EventsQuery {
    /// The workflow's name.
    pub workflow: Option<String>,
    /// The run's name.
    pub run: Option<String>,
    /// What became of it: a label.
    pub outcome: Option<String>,
    /// The most that are listed.
    pub limit: usize,
}

/// Reads a query.
///
/// # Errors
/// What is wrong with it, and what is right.
pub(super) fn read(query: Option<&str>) -> Result<EventsQuery, String> {
    let mut asked = EventsQuery { workflow: None, run: None, outcome: None, limit: LIMIT };
    let mut limit = None;
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        let slot = match &*name {
            "workflow" => &mut asked.workflow,
            "run" => &mut asked.run,
            "outcome" => &mut asked.outcome,
            "limit" => &mut limit,
            _ => return Err("expected the parameters workflow, run, outcome and limit, found another one".to_owned()),
        };
        if value.is_empty() {
            return Err(format!("expected a value of {name}, found none"));
        }
        if slot.replace(value.into_owned()).is_some() {
            return Err(format!("expected {name} once, found it twice"));
        }
    }
    if let Some(limit) = limit {
        let number = limit.parse().ok().filter(|number| (1..=MAX_LIMIT).contains(number));
        asked.limit = number.ok_or_else(|| format!("expected a limit from 1 to {MAX_LIMIT}, found another one"))?;
    }
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_with_its_escapes_and_has_a_limit() {
        let none = EventsQuery { workflow: None, run: None, outcome: None, limit: LIMIT };
        assert_eq!((read(None), read(Some(""))), (Ok(none.clone()), Ok(none.clone())));
        let asked = read(Some("workflow=etl+a&run=s__2026-01-31T06%3A00%3A00%2B00%3A00&outcome=delivered&limit=7"));
        let run = Some("s__2026-01-31T06:00:00+00:00".to_owned());
        let outcome = Some("delivered".to_owned());
        assert_eq!(asked, Ok(EventsQuery { workflow: Some("etl a".to_owned()), run, outcome, limit: 7 }));
    }

    #[test]
    fn what_is_no_escape_stands_for_itself() {
        for (text, expected) in [
            ("%", "%"),
            ("%2", "%2"),
            ("%g1%20", "%g1 "),
            ("a%C3%A9é", "aéé"),
            ("%ff", "\u{fffd}"),
            ("%é0", "%é0"),
            ("%+1", "% 1"),
        ] {
            let asked = read(Some(&format!("run={text}"))).map(|asked| asked.run);
            assert_eq!(asked, Ok(Some(expected.to_owned())));
        }
    }

    #[test]
    fn a_wrong_query_is_refused_with_what_is_right() {
        for (query, says) in [
            ("limit=0", "from 1 to 1000"),
            ("limit=1001", "from 1 to 1000"),
            ("limit=-1", "from 1 to 1000"),
            ("limit=99999999999999999999", "from 1 to 1000"),
            ("limit=", "a value of limit"),
            ("run=", "a value of run"),
            ("run", "a value of run"),
            ("run=a&run=b", "run once"),
            ("flow=a", "workflow, run, outcome and limit"),
            ("%ff=a", "workflow, run, outcome and limit"),
        ] {
            assert!(read(Some(query)).unwrap_err().contains(says), "{query}");
        }
    }
}
