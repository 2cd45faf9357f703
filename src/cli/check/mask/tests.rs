use proptest::prelude::*;

use super::*;

fn masked(parents: &[&str], line: &str) -> String {
    mask(&Line { text: line, parents: parents.to_vec() }).into_iter().map(|(c, _)| c).collect()
}

#[test]
fn a_secret_that_was_written_into_a_file_is_not_shown() {
    let http = &["agents:", "  audit:", "    http:"][..];
    for (parents, line, expected) in [
        (http, "      auth: {bearer: s3cr3t}", "      auth: {bearer: ***"),
        (http, "      auth: {bearer: 's3cr3t', header: x}", "      auth: {bearer: ***"),
        (http, "      auth: s3cr3t: {a: b}", "      auth: ***"),
        (http, "      auth: [s3cr3t, more]", "      auth: [***, ***]"),
        (http, "      auth: {s3cr3t}", "      auth: {***}"),
        (http, "      auth: {s3cr3t: x}", "      auth: {***: ***"),
        (http, "      auth: {bearer: {env: s3cr3t}}", "      auth: {bearer: {env: ***}}"),
        (http, "      sign: {secret: whsec_s3cr3t", "      sign: {secret: ***"),
        (http, "      sign: {secret: a, b} # s3cr3t", "      sign: {secret: ***"),
        (http, "      headers: {authorization: Bearer s3cr3t}", "      headers: {authorization: ***"),
        (http, "      headers: {x-own: s3cr3t, x-b: 's'}", "      headers: {x-own: ***, x-b: ***}"),
        // A key that is misspelt, or in the wrong place.
        (http, "      baerer: s3cr3t", "      baerer: ***"),
        (http, "      baerer: s3cr3t: more", "      baerer: ***"),
        (http, "      baerer: {value: 's3, cr3t'}", "      baerer: {value: ***}"),
        (http, "      s3cr3t", "      ***"),
        (http, "      method: bearer: s3cr3t", "      method: ***"),
        (&["agents:", "  a:", "    timeout: 10s"], "      s3cr3t", "      ***"),
        (http, "      url: https://user:s3cr3t@host/", "      url: ***"),
        (http, "      url: 'https://hooks.example/services/s3cr3t'", "      url: 'https://hooks.example/***"),
        (http, "      url: \"https://h?key=s3cr3t\"", "      url: \"https://h?***"),
        (http, "      url: ${URL:-https://u:s3cr3t@h}", "      url: ***"),
        (http, "      timeout: 10s # s3cr3t", "      timeout: 10s "),
        // In the lines above.
        (&["agents:", "  a:", "    http:", "      auth:"], "        bearer: s3cr3t", "        bearer: ***"),
        (
            &["agents:", "  a:", "    http:", "      auth:", "        bearer: |"],
            "          s3: cr3t",
            "          ***: ***",
        ),
        (&["agents:", "  a:", "    auth: {bearer:"], "      s3cr3t}", "      ***}"),
        (&["agents:", "  a: {headers: {"], "    x-own: s3cr3t,", "    x-own: ***,"),
        // bridge.yaml.
        (&["kafka:", "  security:"], "    sasl_password: s3cr3t", "    sasl_password: ***"),
        (&["kafka:", "  properties:"], "    ssl.key.password: s3cr3t", "    ssl.key.password: ***"),
        (&["kafka:"], "  bootstrap_servers: user:s3cr3t@host:9092", "  bootstrap_servers: ***"),
        // Rules.
        (&["rules:", "  - name: a"], "    body: {api_token: s3cr3t, x: y}", "    body: {api_token: ***"),
        (&["rules:", "  - name: a", "    body:"], "      u: 'http://u:s3cr3t@h'", "      u: ***"),
        (
            &[],
            "{rules: [{name: r}], agents: {a: {baerer: s3cr3t}}}",
            "{rules: [{name: r}], agents: {a: {baerer: ***}}}",
        ),
    ] {
        assert_eq!(masked(parents, line), expected, "{line}");
        assert!(!masked(parents, line).contains("s3cr3t"), "{line}");
    }
}

#[test]
fn what_cannot_be_a_secret_is_shown() {
    let http = &["agents:", "  audit:", "    http:"][..];
    for (parents, line) in [
        (&[][..], "agents: {a: {langgraph: {url: 'http://h:1', assistant: a}, timeout: 10, rate: 5/x}}"),
        (&[], "rules: [{name: a, when: {event_type: [WORKFLOW_FAILED]}, to: [b]}]"),
        (&["rules:"], "- {name: a, when: {workflow_id: [{wildcard: 'a:b*'}], x: [\"}\"]}, to: [b]}"),
        (&["rules:", "  - name: failed"], "    when: {workflow_id: {prefix: etl_}, payload: {rows: 0}}"),
        (&["rules:", "  - name: a", "    when:"], "    - a: b: c"),
        (http, "      url: ${LANGGRAPH_URL:-http://127.0.0.1:2024}"),
        (http, "      url: ${HOST}"),
        (http, "      auth: {bearer: {env: MY_KEY}, header: ${HEADER}}"),
        (http, "      auth: {api_key: {file: /run/key}}"),
        (http, "      auth: ${NAME}"),
        (http, "      auth: {api_key: ${NAME}"),
        (http, "      headers: {x-team: \"${TEAM}\"}"),
        (http, "      concurency:"),
        (&["agents:", "  a:"], "    classify: {409: accepted, 422: agent_fault}"),
        (&["kafka:"], "  topics: [a, a]"),
        (&["kafka:", "  topics:"], "    - a"),
        (&["kafka:"], "  bootstrap_servers: a:9092"),
        (&["dedup:"], "  window: soon"),
    ] {
        assert_eq!(masked(parents, line), line);
    }
}

#[test]
fn each_character_knows_the_one_that_it_stands_for() {
    let shown = mask(&Line { text: "auth: {bearer: abc}", parents: vec!["agents:", "  a:"] });
    let indices: Vec<usize> = shown.iter().map(|(_, at)| *at).collect();
    assert_eq!(indices, (0..15).chain([15; 3]).collect::<Vec<_>>());
}

proptest! {
    /// Whatever stands around it, and however broken the line is.
    #[test]
    fn a_word_after_a_secret_key_is_never_shown(
        before in "[-a-z:{}\\[\\],'\" #]{0,12}", key in "(bearer|api_key|password|x-token|secret)", after in "\\PC{0,12}",
        parents in proptest::collection::vec("( {0,4})(- )?([a-z]{1,8}|rules|agents): ?[{\\[|]?", 0..4),
    ) {
        let parents: Vec<&str> = parents.iter().map(String::as_str).collect();
        let shown = masked(&parents, &format!("{before}{key}: HUNTER2{after}"));
        prop_assert!(!shown.contains("HUNTER2"), "{}", shown);
    }

    #[test]
    fn indices_never_go_back(line in "\\PC*|[-a:{}\\[\\],'\"#$ \t]{0,40}", parent in "[a-z: {\\[]{0,10}") {
        let shown = mask(&Line { text: &line, parents: vec![&parent] });
        prop_assert!(shown.is_sorted_by_key(|(_, at)| *at));
        prop_assert!(shown.iter().all(|(_, at)| *at <= line.chars().count()));
    }
}
