use std::fs;

use super::agent_problems;
use crate::{
    agents::{Auth, Endpoint},
    routing::tests::{assert_problems, load},
};

#[test]
fn a_secret_is_named_and_found_and_never_shown() {
    let missing = "{env: NOPE}";
    for (secret, expected) in [
        ("hunter2", "expected {env: NAME} or {file: PATH}, found something else (not shown)"),
        ("'${K}'", "expected {env: NAME} or {file: PATH}"),
        ("{env: 'hunter2!'}", "expected the name of an environment variable, found something else (not shown)"),
        ("{value: hunter2}", "expected {env: NAME} or {file: PATH}"),
        ("[hunter2]", "expected {env: NAME} or {file: PATH}"),
        (missing, "expected a secret in the environment variable NOPE, found it unset: set it"),
        ("{env: EMPTY}", "environment variable EMPTY, found it empty"),
        ("{env: BLANK}", "environment variable BLANK, found it blank"),
        ("{env: BOM}", "expected visible characters, found a byte order mark, U+FEFF, as character 1 of 8"),
        ("{env: BROKEN}", "expected visible characters, found a line feed, U+000A, as character 8 of 8"),
        ("{file: /nonexistent/secret}", "secret file /nonexistent/secret"),
    ] {
        for place in [
            format!("{{langgraph: {{url: 'http://h', assistant: a, api_key: {secret}}}}}"),
            format!("{{http: {{url: 'http://h', auth: {{bearer: {secret}}}}}}}"),
            format!("{{http: {{url: 'http://h', auth: {{api_key: {secret}}}}}}}"),
            format!("{{http: {{url: 'http://h', sign: {{secret: {secret}}}}}}}"),
            format!("{{http: {{url: 'http://h', headers: {{Authorization: {secret}}}}}}}"),
        ] {
            let found = agent_problems(
                &place,
                &[
                    ("K", "hunter2"),
                    ("EMPTY", ""),
                    ("BLANK", " \n"),
                    ("BOM", "\u{feff}hunter2"),
                    ("BROKEN", "hunter2\n"),
                ],
            );
            assert_problems(&found, &[expected]);
            assert!(!found.join("\n").contains("hunter2"), "{found:?}");
        }
    }
}

#[test]
fn a_secret_file_is_read_at_load_and_at_use() {
    let secrets = tempfile::tempdir().unwrap();
    let path = secrets.path().join("key");
    fs::write(&path, "sesame\n").unwrap();
    let text = format!(
        "agents: {{x: {{http: {{url: 'http://h', auth: {{bearer: {{file: '{}'}}}}}}}}}}
rules: [{{name: r, when: {{event_type: [WORKFLOW_FAILED]}}, to: [x]}}]\n",
        path.display()
    );
    let routing = load(&text);
    let Endpoint::Http(endpoint) = &routing.agent("x").unwrap().endpoint else { panic!() };
    let Some(Auth::Bearer(secret)) = &endpoint.auth else { panic!() };
    fs::write(&path, "rotated\n").unwrap();
    assert_eq!(&*secret.reveal().unwrap(), "rotated");
}

#[test]
fn a_signing_secret_that_cannot_sign_is_found_when_the_folder_is_loaded() {
    let secrets = tempfile::tempdir().unwrap();
    let path = secrets.path().join("key");
    for (value, expected) in [
        ("whsec_", "sign, secret: expected a key in the signing secret, found none after whsec_"),
        ("whsec_hunter2!", "sign, secret: expected base64 (A-Z, a-z, 0-9, + and /, padded with =) after whsec_"),
        ("whsec_aHVudGVyMg", "sign, secret: expected base64"),
    ] {
        fs::write(&path, format!("{value}\n")).unwrap();
        for secret in ["{env: S}".to_owned(), format!("{{file: '{}'}}", path.display())] {
            let place = format!("{{http: {{url: 'http://h', sign: {{secret: {secret}}}}}}}");
            let found = agent_problems(&place, &[("S", value)]);
            assert_problems(&found, &[expected]);
            assert!(!found.join("\n").contains("hunter2") && !found.join("\n").contains("aHVud"), "{found:?}");
        }
    }
    for value in ["whsec_aHVudGVyMg==", "hunter2"] {
        fs::write(&path, value).unwrap();
        let agent = format!("{{http: {{url: 'http://h', sign: {{secret: {{file: '{}'}}}}}}}}", path.display());
        load(&format!(
            "agents: {{x: {agent}}}\nrules: [{{name: r, when: {{event_type: [WORKFLOW_FAILED]}}, to: [x]}}]\n"
        ));
    }
    for blank in ["", "\n", " \t\n"] {
        fs::write(&path, blank).unwrap();
        let place = format!("{{http: {{url: 'http://h', sign: {{secret: {{file: '{}'}}}}}}}}", path.display());
        assert_problems(&agent_problems(&place, &[]), &["is empty: write the secret into it"]);
    }
}

#[test]
fn a_private_ca_is_for_https_and_read_when_the_folder_is_loaded() {
    let ca = "-----BEGIN CERTIFICATE-----
MIIBcTCCARegAwIBAgIBATAKBggqhkjOPQQDAjAAMB4XDTI2MDEwMTAwMDAwMFoX
-----END CERTIFICATE-----
";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    fs::write(&path, ca).unwrap();
    let place = format!("{{http: {{url: 'https://h', tls: {{ca_file: '{}'}}}}}}", path.display());
    assert_problems(&agent_problems(&place, &[]), &["expected certificates in PEM"]);

    // Any certificate will do: nothing is verified here.
    fs::write(&path, include_str!("../testdata/ca.pem")).unwrap();
    for (kind, more) in [("http", ""), ("langgraph", ", assistant: a")] {
        let place =
            |scheme: &str| format!("{{{kind}: {{url: '{scheme}://h', tls: {{ca_file: '{}'}}{more}}}}}", path.display());
        let text = format!(
            "agents: {{x: {}}}\nrules: [{{name: r, when: {{event_type: [WORKFLOW_FAILED]}}, to: [x]}}]\n",
            place("https")
        );
        assert!(load(&text).agent("x").unwrap().endpoint.tls().is_some());
        assert_problems(
            &agent_problems(&place("http"), &[]),
            &["tls: expected a URL with https:// beside tls, found http://"],
        );
    }
}

#[test]
fn what_a_variable_holds_is_not_shown_where_a_text_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("hunter2");
    fs::write(&empty, "").unwrap();
    let empty = empty.display().to_string();
    for (agent, expected) in [
        ("{langgraph: {url: 'http://h', assistant: a, api_key: {file: '${TOK}'}}}", "secret file ${TOK}: No such file"),
        ("{http: {url: 'http://h', auth: {bearer: {file: '/${TOK}'}}}}", "secret file /${TOK}: No such file"),
        ("{http: {url: 'http://h', auth: {bearer: {file: '${EMPTY}'}}}}", "secret file ${EMPTY} is empty"),
        ("{http: {url: 'http://h', sign: {secret: {file: '${TOK}'}}}}", "secret file ${TOK}: No such file"),
        ("{http: {url: 'http://h', headers: {x-a: {file: '${TOK}'}}}}", "secret file ${TOK}: No such file"),
        (
            "{http: {url: 'http://h', auth: {api_key: {env: K}, header: '${TOK} x'}}}",
            "found `{` as its character 2 (the rest is not shown)",
        ),
        (
            "{http: {url: 'http://h', auth: {api_key: {env: K}, header: 'webhook-${TOK}'}}}",
            "the header `webhook-${TOK}` cannot be set here",
        ),
        (
            "{http: {url: 'http://h', headers: {x-a: \"${TOK}\\x01\"}}}",
            "found another among them (the value is not shown)",
        ),
        ("{http: {url: 'https://h', tls: {ca_file: '${TOK}'}}}", "CA file ${TOK}: No such file"),
        ("{http: {url: 'https://h', tls: {ca_file: '${EMPTY}'}}}", "CA file ${EMPTY}: expected certificates"),
        ("{http: {url: '${TOK}'}}", "found \"${TOK}\""),
        ("{http: {url: 'http://h', method: '${TOK}'}}", "found the string \"${TOK}\""),
        ("{http: {url: 'http://h'}, timeout: '${TOK}'}", "found the string \"${TOK}\""),
        ("{http: {url: 'http://h'}, timeout: '${LONG}'}", "expected 10ms to 1h, found the string \"${LONG}\""),
        ("{http: {url: 'http://h'}, rate: '${TOK}'}", "found the string \"${TOK}\""),
        ("{http: {url: 'http://h'}, concurrency: '${TOK}'}", "found the string \"${TOK}\""),
        ("{http: {url: 'http://h'}, classify: {409: '${TOK}'}}", "found the string \"${TOK}\""),
    ] {
        let env = [("TOK", "hunter2"), ("EMPTY", empty.as_str()), ("LONG", "7331h"), ("K", "v")];
        let found = agent_problems(agent, &env);
        assert_problems(&found, &[expected]);
        assert!(!found[0].contains("hunter2") && !found[0].contains("305days"), "{found:?}");
    }
}

#[test]
fn a_secret_in_the_place_of_a_name_is_not_shown() {
    for (agent, expected) in [
        ("{http: {url: 'http://h', auth: {hunter2: x}}}", &["expected either", "unknown key (not shown)"][..]),
        (
            "{http: {url: 'http://h', auth: {bearer, hunter2}}}",
            &["{env: NAME} or {file: PATH}", "unknown key (not shown)"],
        ),
        ("{http: {url: 'http://h', auth: {sesame: {env: K}}}}", &["either {bearer", "unknown key (not shown)"]),
        ("{http: {url: 'http://h', sign: {sesame: x}}}", &["the key `secret`", "unknown key (not shown)"]),
        ("{http: {url: 'http://h', 'authorization: Bearer hunter2': x}}", &["unknown key (not shown)"]),
        (
            "{http: {url: 'http://h', headers: {'authorization: Bearer hunter2': x}}}",
            &["found `:` as its character 14"],
        ),
        (
            "{http: {url: 'http://h', auth: {api_key: {env: K}, header: 'Bearer hunter2'}}}",
            &["found ` ` as its character 7"],
        ),
        ("{http: {url: 'http://h', auth: {bearer: {env: sk_hunter2}}}}", &["variable that is named here (not shown"]),
        ("{http: {url: 'http://h', auth: {bearer: {file: hunter2}}}}", &["secret file (path not shown): No such file"]),
        ("{http: {url: hunter2}}", &["found another text (not shown)"]),
        ("{http: {url: '${URL:-hunter2}'}}", &["found another text (not shown)"]),
        ("{http: {url: '${sk_hunter2}'}}", &["variable that is named here (not shown"]),
        ("{http: {url: '${hunter2!}'}}", &["found another text (not shown)"]),
        (
            "{langgraph: {url: 'http://h', assistant: a, config: {x: 'hunter2 {{ a.b } hunter2'}}}",
            &["found \"{{ a.b }\""],
        ),
    ] {
        let found = agent_problems(agent, &[("K", "v")]);
        assert_problems(&found, expected);
        let found = found.join("\n");
        assert!(!found.contains("hunter2") && !found.contains("sesame"), "{found}");
    }
}
