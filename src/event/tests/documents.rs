//! The tables of docs/events.md agree with the code.

use std::{collections::BTreeSet, fs, path::Path};

use super::native;
use crate::event::{Dialect, Event, airflow, cloudevents, decode, openlineage};

/// A file of the repository.
pub(super) fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The rows of the table below this heading.
fn table(text: &str, heading: &str) -> Vec<Vec<String>> {
    text.lines()
        .skip_while(|line| !(line.starts_with('#') && line.trim_start_matches('#').trim() == heading))
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect()
}

#[test]
fn the_tables_of_the_documents_are_the_tables_of_the_code() {
    let text = read("docs/events.md");
    let code = |text: &str| format!("`{text}`");
    let documented: Vec<_> = table(&text, "Dialects").into_iter().map(|row| row[0].clone()).collect();
    assert_eq!(documented, Dialect::ALL.iter().map(|dialect| code(dialect.as_str())).collect::<Vec<_>>());

    let documented: Vec<_> =
        table(&text, "What Airflow's provider reports").into_iter().map(|row| row[..3].to_vec()).collect();
    let rows = airflow::EVENTS.iter();
    let expected: Vec<_> =
        rows.map(|(event, name, scope)| [event, name, scope].map(|text| code(text)).to_vec()).collect();
    assert_eq!(documented, expected);

    let documented = table(&text, "Extension attributes");
    let rows = cloudevents::EXTENSIONS.iter();
    let mut expected: Vec<_> = rows.map(|(extension, place)| vec![code(extension), code(place)]).collect();
    expected.push(vec!["any other".into(), "`metadata`, under its own name".into()]);
    assert_eq!(documented, expected);

    let documented: Vec<_> =
        table(&text, "What OpenLineage reports").into_iter().map(|row| row[..2].to_vec()).collect();
    let mut expected: Vec<_> = openlineage::EVENTS.iter().map(|(state, name)| vec![code(state), code(name)]).collect();
    expected.push(vec!["any other".into(), "kept".into()]);
    assert_eq!(documented, expected);
    for (field, name) in openlineage::OF_JOBS {
        let row = format!("| `metadata.{name}` | `job.facets.jobType.{field}` |");
        assert!(text.contains(&row), "docs/events.md has no row {row}");
    }

    for names in [airflow::OF_TASKS, cloudevents::WORKFLOW_IN_DATA, cloudevents::RUN_IN_DATA] {
        let list = names.iter().map(|name| code(name)).collect::<Vec<_>>().join(", ");
        assert!(text.contains(&list), "docs/events.md does not name {list}");
    }
}

#[test]
fn every_field_of_an_event_is_documented_and_written_in_its_order() {
    let text = read("docs/events.md");
    let documented: Vec<_> = table(&text, "The wire format")
        .into_iter()
        .flat_map(|row| row[0].split(", ").map(|cell| cell.trim_matches('`').to_owned()).collect::<Vec<_>>())
        .take(Event::FIELDS.len())
        .collect();
    assert_eq!(documented.iter().collect::<BTreeSet<_>>(), Event::FIELDS.map(str::to_owned).iter().collect());
    let event = decode(native().to_string().as_bytes()).unwrap();
    let written: Vec<_> = event.document().as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(written, Event::FIELDS);
}
