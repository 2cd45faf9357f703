use std::fmt::Write;

use super::*;

/// The rows of the table in docs/agents.md: the answers, and the class for each kind of request.
fn documented() -> Vec<(String, [String; 3])> {
    let page = include_str!("../../../docs/agents.md");
    let table = page.split("<!-- classes -->").nth(1).expect("docs/agents.md has the marks around its table");
    let rows = table.lines().map(str::trim).filter(|line| line.starts_with('|')).skip(2);
    rows.map(|row| {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
        (cells[0].clone(), [1, 2, 3].map(|i| cells[i].clone()))
    })
    .collect()
}

fn observations(cell: &str) -> Vec<Observation> {
    cell.split(',')
        .flat_map(|part| {
            let part = part.trim();
            match part.split_once(" to ") {
                Some((first, last)) => {
                    (first.parse().unwrap()..=last.parse().unwrap()).map(Observation::Status).collect()
                }
                None => vec![match part {
                    "unreadable" => Observation::Unreadable,
                    "unknown assistant" => Observation::UnknownAssistant,
                    "no connection" => Observation::Connect,
                    "no answer in time" => Observation::Timeout,
                    "connection broken" => Observation::Io,
                    "unreadable secret" => Observation::Secret,
                    "invisible claim" => Observation::ClaimInvisible,
                    "contended claim" => Observation::ClaimContended,
                    status => Observation::Status(status.parse().unwrap_or_else(|_| panic!("no answer: {status:?}"))),
                }],
            }
        })
        .collect()
}

#[test]
fn the_table_in_the_docs_is_the_table_in_the_code() {
    let mut seen = Vec::new();
    let mut wrong = String::new();
    for (cell, classes) in documented() {
        for observation in observations(&cell) {
            assert!(!seen.contains(&observation), "{observation:?} stands twice in docs/agents.md");
            seen.push(observation);
            for (request, documented) in [Request::Http, Request::Run, Request::BeforeRun].into_iter().zip(&classes) {
                let word = documented.split_whitespace().next().unwrap_or("");
                // A dash: the answer is part of the protocol, or cannot occur.
                if word == "-" {
                    continue;
                }
                let class = classify(request, observation, &BTreeMap::new());
                let is_transient = documented.contains("(transient)");
                if class.as_str() != word || is_transient != (class == Class::AgentUnavailable) {
                    writeln!(wrong, "{observation:?} to {request:?}: {class:?}, the docs say {documented}").unwrap();
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    for status in 200..=599 {
        assert!(seen.contains(&Observation::Status(status)), "docs/agents.md does not name {status}");
    }
    assert_eq!(seen.len(), 400 + 8, "docs/agents.md leaves out an answer that is not a status");
}

#[test]
fn an_override_wins() {
    let overrides = BTreeMap::from([(404, Class::EventFault), (503, Class::Busy)]);
    assert_eq!(classify(Request::Http, Observation::Status(404), &overrides), Class::EventFault);
    assert_eq!(classify(Request::Run, Observation::Status(503), &overrides), Class::Busy);
    assert_eq!(classify(Request::BeforeRun, Observation::Status(503), &overrides), Class::Busy);
    assert_eq!(classify(Request::Http, Observation::Status(500), &overrides), Class::Ambiguous);
}

#[test]
fn an_override_cannot_call_a_langgraph_answer_accepted() {
    let overrides = BTreeMap::from([(409, Class::Accepted)]);
    assert_eq!(classify(Request::Http, Observation::Status(409), &overrides), Class::Accepted);
    assert_eq!(classify(Request::Run, Observation::Status(409), &overrides), Class::Busy);
    assert_eq!(classify(Request::BeforeRun, Observation::Status(409), &overrides), Class::AgentFault);
}

#[test]
fn the_status_says_whether_an_agent_fault_of_the_routing_file_may_pass() {
    for request in [Request::Http, Request::Run, Request::BeforeRun] {
        for status in 100..=599 {
            let overrides = BTreeMap::from([(status, Class::AgentFault)]);
            let may_pass = matches!(status, 408 | 425 | 429 | 500..);
            let expected = if may_pass { Class::AgentUnavailable } else { Class::AgentFault };
            assert_eq!(classify(request, Observation::Status(status), &overrides), expected, "{request:?} {status}");
        }
    }
}

#[test]
fn a_routing_file_has_one_word_for_each_class_it_can_name() {
    let words = Class::NAMED.map(Class::as_str);
    assert_eq!(words, ["accepted", "busy", "ambiguous", "event_fault", "agent_fault"]);
}

#[test]
fn retry_after_is_read_as_seconds_or_as_a_date_and_capped() {
    let now: jiff::Timestamp = "1994-11-06T08:49:07Z".parse().unwrap();
    let seconds = |text| retry_after(text, now).map(|wait| wait.as_secs());
    assert_eq!(seconds("120"), Some(120));
    assert_eq!(seconds(" 0 "), Some(0));
    assert_eq!(seconds("Sun, 06 Nov 1994 08:49:37 GMT"), Some(30));
    assert_eq!(seconds("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0));
    assert_eq!(seconds("Sat, 06 Nov 2094 08:49:37 GMT"), Some(3600));
    assert_eq!(seconds("99999"), Some(3600));
    assert_eq!(seconds("99999999999999999999999999"), Some(3600));
    // The three forms of an HTTP date, and common deviations.
    for date in [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "sun, 06 nov 1994 08:49:37 GMT",
        "Mon, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 6-Nov-94 08:49:37 UTC",
        "Sun Nov 06 08:49:37 1994",
        "Sun Nov 6 08:49:37 1994 GMT",
        "  Sun, 06 Nov 1994 08:49:37 GMT ",
    ] {
        assert_eq!(seconds(date), Some(30), "{date}");
    }
    for (date, wait) in [
        ("Sunday, 06-Nov-94 08:00:00 GMT", 0),
        ("Monday, 07-Nov-94 08:49:37 GMT", 3600),
        ("Sun Nov  6 08:00:00 1994", 0),
        ("Sun Nov  6 08:49:37 2094", 3600),
    ] {
        assert_eq!(seconds(date), Some(wait), "{date}");
    }
    let neither = [
        "",
        "soon",
        "-1",
        "1.5",
        "Sun, 06 Nov",
        "Sunday, 99-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49",
        "Sun Feb 30 08:49:37 1994",
        ", ",
        " ",
        "Sun, 06 Nov 1994 08:49:37 GMT, 120",
    ];
    for neither in neither {
        assert_eq!(seconds(neither), None, "{neither:?}");
    }
}
