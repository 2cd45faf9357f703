use crate::routing::tests::{assert_problems, load_with, problems};

fn rules(when: &str) -> String {
    format!(
        "agents: {{a: {{http: {{url: 'http://h/'}}}}}}
rules:
  - name: r
    to: [a]
    when: {{event_type: [WORKFLOW_COMPLETED], {when}}}
"
    )
}

fn warnings(when: &str) -> Vec<String> {
    let (_folder, routing) = load_with(&[("a.yaml", &rules(when))], &[]);
    let routing = routing.unwrap_or_else(|problems| panic!("{when}: {problems}"));
    routing.warnings().iter().map(|warning| format!("{}: {}", warning.position.unwrap(), warning.message)).collect()
}

#[test]
fn what_a_string_can_never_be_is_an_error_at_its_place_with_the_remedy() {
    for (item, message) in [
        (
            "20240131",
            "expected a string, found the number 20240131: this field is always a string: quote it: \"20240131\"",
        ),
        ("7.5", "quote it: \"7.5\""),
        ("true", "expected a string, found true: this field is always a string: quote it: \"true\""),
        ("null", "expected a string, found null"),
        ("{exists: false}", "every event has this field"),
        ("{numeric: [\">\", 0]}", "`numeric` looks at numbers only"),
        ("' '", "never blank"),
    ] {
        for field in ["workflow_id", "workflow_run_id", "event_id", "source", "timestamp"] {
            if item == "' '" && !field.starts_with("workflow") {
                continue;
            }
            let column = 49 + field.len();
            let place = format!("a.yaml:5:{column}: rule `r`, when.{field}: ");
            let found = problems(&rules(&format!("{field}: [{item}]")));
            assert_problems(&found, &[&place]);
            assert!(found[0].contains(message), "{found:?}");
        }
    }
    assert_problems(
        &problems(&rules("workflow_id: {name: [x]}")),
        &[
            "5:59: rule `r`, when.workflow_id: this field is always a string, which has no fields, so no event can match",
        ],
    );
    assert_problems(
        &problems(&rules("$or: [{workflow_id: [7]}, {source: [null]}]")),
        &["when.workflow_id: ", "when.source: "],
    );
    assert_problems(&problems(&rules("event_id: ['']")), &["empty event_id"]);
    for field in ["payload", "metadata"] {
        for item in ["x", "7", "{exists: true}", "{anything-but: x}"] {
            assert_problems(&problems(&rules(&format!("{field}: [{item}]"))), &["this field is always an object"]);
        }
    }
}

#[test]
fn a_time_in_a_form_that_events_never_have_is_an_error_with_the_one_that_they_have() {
    for (item, message) in [
        ("'2026-01-31T13:00:00+01:00'", "events write this time as 2026-01-31T12:00:00Z"),
        ("'2026-01-31 12:00:00'", "events write this time as 2026-01-31T12:00:00Z"),
        ("'2026-01-31T12:00:00.500Z'", "events write this time as 2026-01-31T12:00:00.5Z"),
        ("'2026-01-31'", "2026-01-31T00:00:00Z"),
        ("yesterday", "expected a time as events write it"),
        ("{prefix: '2026-01-31 12'}", "no event's time begins so"),
        ("{prefix: '31.01.2026'}", "no event's time begins so"),
        ("{suffix: '+00:00'}", "no event's time ends so"),
        ("{wildcard: '*+01:00'}", "no event's time ends so"),
        ("{wildcard: '2026/*'}", "no event's time begins so"),
        ("{cidr: 10.0.0.0/8}", "no address"),
    ] {
        let found = problems(&rules(&format!("timestamp: [{item}]")));
        assert_problems(&found, &["a.yaml:5:58: rule `r`, when.timestamp: "]);
        assert!(found[0].contains(message), "{item}: {found:?}");
    }
}

#[test]
fn what_some_event_can_match_is_never_refused() {
    for when in [
        "workflow_run_id: ['20240131']",
        "workflow_id: ['10.0.0.1', {cidr: 10.0.0.0/8}, {prefix: ''}, {suffix: x}, {wildcard: '*'}]",
        "event_id: [' ', {exists: true}, {exactly: x}]",
        "timestamp: ['2026-01-31T12:00:00Z', '2026-01-31T12:00:00.5Z', {prefix: '2026-01'}, {prefix: '2026-01-31T12:00:00.123'}]",
        "timestamp: [{suffix: Z}, {suffix: ':00Z'}, {wildcard: '2026-*T00:*Z'}, {anything-but: '2026-01-31T12:00:00Z'}]",
        "timestamp: [{prefix: {equals-ignore-case: '2026-01-31t'}}, {equals-ignore-case: '2026-01-31t12:00:00z'}, {exists: true}]",
        "source: [AIRFLOW, {anything-but: [AIRFLOW]}, {prefix: AIR}, {equals-ignore-case: airflow}]",
        "payload: {data: [null, 7, {exists: false}]}, metadata: {environment: [prod], version: ['1.0']}",
        "metadata: {environment: {tier: [x]}, build: [7]}",
        "tenant: [null, 7, true, {exists: false}, {numeric: ['=', 7]}]",
    ] {
        assert_eq!(warnings(when), Vec::<String>::new(), "{when}");
    }
}

#[test]
fn what_is_probably_a_mistake_is_a_warning_at_its_place() {
    for (when, expected) in [
        (
            "workflow_run_id: [x, 20240131]",
            "5:67: rule `r`, when.workflow_run_id: this alternative can never match: expected a string, found the number",
        ),
        (
            "source: [AIRFLO]",
            "5:55: rule `r`, when.source: the string \"AIRFLO\" matches none of the names that are known (AIRFLOW, LANGGRAPH, FASTAPI, DAGSTER, RUNNER, OPENLINEAGE): did you mean `AIRFLOW`?",
        ),
        ("source: [prefect]", "5:55: rule `r`, when.source: the string \"prefect\" matches none of the names"),
        ("source: [{prefix: air}]", "5:55: rule `r`, when.source: a map matches none of the names"),
        (
            "workflow_id: [{anything-but: 7}]",
            "5:60: rule `r`, when.workflow_id: anything-but excludes nothing here: this field is always a string, never the number 7: quote it: \"7\"",
        ),
        (
            "source: [{anything-but: [airflow]}]",
            "5:55: rule `r`, when.source: anything-but excludes nothing here: events spell it `AIRFLOW`",
        ),
        (
            "workflow_id: {x: [{exists: false}]}",
            "5:59: rule `r`, when.workflow_id: this field is always a string, which has no fields, so this holds for every event",
        ),
        ("payload: [{exists: false}]", "5:56: rule `r`, when.payload: this field is always an object"),
        (
            "metadata: {version: [1.0]}",
            "5:67: rule `r`, when.metadata.version: publishers write a string here, and the number 1.0 never equals one: quote it: \"1.0\"",
        ),
        ("metadata: {environment: [true]}", "5:71: rule `r`, when.metadata.environment: "),
    ] {
        let found = warnings(when);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{when}: {found:?}\n{expected}");
    }
    let text = rules("source: [AIRFLOW]").replace("[WORKFLOW_COMPLETED]", "[completed, WORKFLOW_PAUSED]");
    let (_folder, routing) = load_with(&[("a.yaml", &text)], &[]);
    let routing = routing.unwrap();
    let found: Vec<_> = routing.warnings().iter().map(|warning| warning.message.as_str()).collect();
    assert!(found[0].ends_with("did you mean `WORKFLOW_COMPLETED`?") && found.len() == 2, "{found:?}");
}

#[test]
fn a_type_that_a_file_of_the_folder_lists_is_known_to_rules_of_all_files() {
    let with = |types: &str, when: &str| {
        let text = rules("source: [AIRFLOW]").replace("[WORKFLOW_COMPLETED]", when);
        let (_folder, routing) = load_with(&[("a.yaml", &text), ("b.yaml", types)], &[]);
        let routing = routing.unwrap_or_else(|problems| panic!("{types}: {problems}"));
        assert_eq!(routing.lists_event_type("UserCreated"), types.contains("UserCreated"));
        routing.warnings().iter().map(|warning| warning.message.clone()).collect::<Vec<_>>()
    };
    let listed = "event_types: [UserCreated, UserDeleted]";
    for when in
        ["[UserCreated]", "[{prefix: User}]", "[WORKFLOW_FAILED, UserDeleted]", "[{equals-ignore-case: usercreated}]"]
    {
        assert_eq!(with(listed, when), Vec::<String>::new(), "{when}");
    }
    let found = with(listed, "[UserCreate]");
    assert!(found.len() == 1 && found[0].ends_with("did you mean `UserCreated`?"), "{found:?}");
    let found = with("event_types: []", "[UserCreated]");
    assert!(found.len() == 1 && found[0].ends_with("list it under `event_types:` if it is published"), "{found:?}");
}

#[test]
fn a_type_that_cannot_be_listed_is_a_mistake_at_its_place() {
    for (types, expected) in [
        ("{a: 1}", "a.yaml:1:14: event_types: expected a list of names, found a map"),
        ("[A, 7]", "a.yaml:1:18: event_types: expected a name, found the number 7"),
        ("[' ']", "a.yaml:1:15: event_types: expected a name of 1 to 255 bytes, found \" \""),
        (
            "[workflow.completed]",
            "a.yaml:1:15: event_types: rules may name WORKFLOW_COMPLETED already: take \"workflow.completed\" out",
        ),
    ] {
        let text = format!("event_types: {types}\n{}", rules("source: [AIRFLOW]"));
        assert_problems(&problems(&text), &[expected]);
    }
    let many: Vec<String> = (0..=1_000).map(|n| format!("T{n}")).collect();
    let text = format!("event_types: [{}]\n{}", many.join(", "), rules("source: [AIRFLOW]"));
    assert_problems(&problems(&text), &["event_types: expected at most 1000 in all files together"]);
}

#[test]
fn an_alternative_that_can_never_match_is_a_mistake_only_when_none_can() {
    let never = "this alternative can never match: ";
    for (when, expected) in [
        ("$or: [{workflow_id: [7]}, {source: [AIRFLOW]}]", "when.workflow_id: "),
        ("$or: [{source: [AIRFLOW]}, {workflow_id: {name: [x]}}]", "when.workflow_id: "),
        ("$or: [{payload: [x]}, {source: [AIRFLOW]}]", "when.payload: "),
        ("$or: [{source: [AIRFLOW], $or: [{timestamp: [noon]}, {event_id: [null]}]}, {workflow_id: [x]}]", ""),
        ("$or: [{workflow_id: [7], source: [AIRFLOW]}, {workflow_run_id: [x]}]", "when.workflow_id: "),
    ] {
        let found = warnings(when);
        assert!(!found.is_empty(), "{when}");
        for warning in found {
            assert!(warning.contains(&format!("{expected}{never}")), "{when}: {warning}");
            assert_eq!(warning.matches(never).count(), 1, "{warning}");
        }
    }
    for (when, expected) in [
        (
            "$or: [{workflow_id: [7], source: [AIRFLOW]}, {source: [null]}]",
            &["when.workflow_id: ", "when.source: "][..],
        ),
        (
            "$or: [{$or: [{workflow_id: [7]}, {event_id: [7]}]}, {source: [7]}]",
            &["when.workflow_id: ", "when.event_id: ", "when.source: "],
        ),
        ("workflow_id: [7], $or: [{source: [AIRFLOW]}, {source: [7]}]", &["when.workflow_id: "]),
    ] {
        assert_problems(&problems(&rules(when)), expected);
    }
}
