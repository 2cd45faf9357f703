use std::{net::Ipv4Addr, time::Duration};

use reqwest::Method;
use serde_json::json;

use super::super::{testing::*, *};
use crate::{
    cases::is_quick,
    demo::testing::{SampleAgent, SampleOptions},
};

async fn sample(options: SampleOptions) -> SampleAgent {
    SampleAgent::start((Ipv4Addr::LOCALHOST, 0).into(), options).await.unwrap()
}

fn header(heard: &ReceivedRequest, name: &str) -> String {
    let prefix = format!("{name}: ");
    heard.head.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap_or("").to_owned()
}

#[tokio::test]
async fn every_attempt_carries_the_same_key_and_the_event_as_it_was_published() {
    let server = sample(SampleOptions { fail_first: 1, ..SampleOptions::default() }).await;
    let (agent, _) = connect(http_spec(server.addr()).0);
    let delivery = delivery("e1");
    let failure = failed(agent.attempt(&mut agent.session(), &delivery).await);
    assert_eq!((failure.class, failure.kind.as_str(), failure.status), (Class::Ambiguous, "503", Some(503)));
    for _ in 0..2 {
        let answer = agent.attempt(&mut agent.session(), &delivery).await;
        assert_eq!(answer, Answer::Accepted { run_id: None, found: false, status: Some(204) });
    }
    let received = server.received();
    assert_eq!(received.len(), 2);
    for event in &received {
        assert_eq!(event.key.as_deref(), Some(&*delivery.id.to_string()));
        assert_eq!(event.headers["webhook-id"], delivery.id.to_string());
        assert_eq!(event.headers["x-request-id"], delivery.id.to_string());
        assert_eq!(event.headers["traceparent"], TRACEPARENT);
        assert_eq!(event.headers["tracestate"], "rojo=1");
        assert_eq!(event.headers["baggage"], "team=core");
        assert_eq!(event.headers["content-type"], "application/json");
        assert_eq!(event.headers["content-length"], delivery.raw.len().to_string());
        assert!(event.headers["user-agent"].to_str().unwrap().starts_with("workflow-bridge/"));
        assert_eq!(event.body, delivery.raw);
    }
    assert_eq!(server.executions()["e1"], 1, "the key tells the repeat");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn the_body_is_signed_as_it_is_sent() {
    let server = Scripted::start(|_| Act::text(200, "", "")).await;
    let (mut spec, mut http) = http_spec(server.addr);
    http.method = Method::PUT;
    http.sign = Some(secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));
    http.auth = Some(Auth::Bearer(secret("hunter2")));
    http.headers =
        vec![("content-type".parse().unwrap(), HeaderText::Plain("application/vnd.x+json".parse().unwrap()))];
    spec.endpoint = Endpoint::Http(http);
    let (agent, _) = connect(spec);
    let delivery = Delivery { body: Some(json!({"a": [1, 2]})), ..delivery("e1") };
    let answer = agent.attempt(&mut agent.session(), &delivery).await;
    assert!(matches!(answer, Answer::Accepted { .. }), "{answer:?}");

    let heard = &server.heard()[0];
    assert_eq!(heard.line, "PUT /events");
    assert_eq!(heard.body, br#"{"a":[1,2]}"#);
    assert_eq!(header(heard, "content-type"), "application/vnd.x+json");
    assert_eq!(header(heard, "authorization"), "Bearer hunter2");
    let timestamp: i64 = header(heard, "webhook-timestamp").parse().unwrap();
    assert!((jiff::Timestamp::now().as_second() - timestamp).abs() < 60);
    let key = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let signed = super::signature(key, &delivery.id.to_string(), timestamp, &heard.body).unwrap();
    assert_eq!(header(heard, "webhook-signature"), signed);
}

#[tokio::test]
async fn an_api_key_goes_into_the_header_of_choice() {
    let server = sample(SampleOptions { api_key: Some("hunter2".into()), ..SampleOptions::default() }).await;
    for (key, accepted) in [("hunter2", true), ("rotated", false)] {
        let (mut spec, mut http) = http_spec(server.addr());
        http.auth = Some(Auth::ApiKey { header: "x-api-key".parse().unwrap(), key: secret(key) });
        spec.endpoint = Endpoint::Http(http);
        let (agent, _) = connect(spec);
        match agent.attempt(&mut agent.session(), &delivery("e1")).await {
            Answer::Accepted { .. } => assert!(accepted),
            answer => {
                let failure = failed(answer);
                assert_eq!((failure.class, failure.kind.as_str(), accepted), (Class::AgentFault, "401", false));
            }
        }
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let location = "location: //u:hunter2@127.0.0.1:9/elsewhere?token=hunter2\r\n";
    let server = Scripted::start(move |_| Act::text(308, location, "")).await;
    let (agent, _) = connect(http_spec(server.addr).0);
    let failure = failed(agent.attempt(&mut agent.session(), &delivery("e1")).await);
    assert_eq!((failure.class, failure.kind.as_str()), (Class::AgentFault, "3xx"));
    let expected =
        format!("POST http://{}/events answered 308, a redirect to http://127.0.0.1:9/elsewhere (", server.addr);
    assert!(failure.reason.starts_with(&expected) && failure.reason.ends_with("(empty body)"), "{}", failure.reason);
    assert!(!failure.reason.contains("hunter2"), "{}", failure.reason);
    assert_eq!(server.lines(), ["POST /events"]);
}

#[tokio::test]
async fn an_answer_that_never_ends_is_accepted_by_its_status() {
    let endless = || Act::Say("HTTP/1.1 200 x\r\ncontent-length: 9999999\r\n\r\n".to_owned() + &"x".repeat(1 << 20));
    let server = Scripted::start(move |_| endless()).await;
    let (agent, _) = connect(http_spec(server.addr).0);
    let answer = agent.attempt(&mut agent.session(), &delivery("e1")).await;
    assert_eq!(answer, Answer::Accepted { run_id: None, found: false, status: Some(200) });
}

#[tokio::test]
async fn no_answer_is_told_from_no_connection() {
    let hangs = Scripted::start(|_| Act::Hang).await;
    let closes = Scripted::start(|_| Act::Close).await;
    let cases = [
        (NOBODY, Class::AgentFault, "connect"),
        (hangs.addr, Class::Ambiguous, "timeout"),
        (closes.addr, Class::Ambiguous, "io"),
    ];
    for (addr, class, kind) in cases {
        let (agent, _) = connect(http_spec(addr).0);
        let (mut session, delivery) = (agent.session(), delivery("e1"));
        let attempt = agent.attempt(&mut session, &delivery);
        // Before it is connected, a time-out is one of the connection.
        let answer =
            if kind == "timeout" { timed_out(attempt, || hangs.lines().len() == 1).await } else { attempt.await };
        let failure = failed(answer);
        assert_eq!((failure.class, failure.kind.as_str()), (class, kind), "{}", failure.reason);
    }
}

#[tokio::test]
async fn the_agents_own_words_for_a_status_win() {
    let server = Scripted::start(|_| Act::text(404, "retry-after: 3\r\n", "no such run yet\n")).await;
    let (mut spec, _) = http_spec(server.addr);
    spec.classify.insert(404, Class::EventFault);
    let (agent, _) = connect(spec);
    let failure = failed(agent.attempt(&mut agent.session(), &delivery("e1")).await);
    assert_eq!((failure.class, failure.kind.as_str()), (Class::EventFault, "404"));
    assert_eq!(failure.retry_after, Some(Duration::from_secs(3)));
    assert_eq!(failure.reason, format!("POST http://{}/events answered 404: no such run yet", server.addr));
}

#[tokio::test]
async fn a_signing_secret_that_is_no_base64_is_the_agents_fault() {
    let server = sample(SampleOptions::default()).await;
    let (mut spec, mut http) = http_spec(server.addr());
    http.sign = Some(secret("whsec_!"));
    spec.endpoint = Endpoint::Http(http);
    let (agent, _) = connect(spec);
    let failure = failed(agent.attempt(&mut agent.session(), &delivery("e1")).await);
    assert_eq!((failure.class, failure.kind.as_str()), (Class::AgentFault, "secret"));
    assert!(server.requests().is_empty());
}

#[test]
fn an_agent_needs_a_url_of_http() {
    let (mut spec, mut http) = http_spec("127.0.0.1:1".parse().unwrap());
    http.url = "ftp://h/x".parse().unwrap();
    spec.endpoint = Endpoint::Http(http);
    assert!(matches!(Agent::connect(&std::sync::Arc::new(spec)), Err(ConnectError::Url { .. })));
}

/// Ways to write a response, all of which an agent has been seen or is allowed to use, or that are
/// broken after a status line that is whole.
fn forms(status: &str) -> Vec<(&'static str, Vec<u8>)> {
    let head = |rest: &str| format!("HTTP/1.1 {status} x\r\n{rest}").into_bytes();
    let many = |count: usize| {
        let headers: Vec<String> = (0..count).map(|n| format!("x-{n}: {n}\r\n")).collect();
        head(&format!("{}content-length: 0\r\n\r\n", headers.concat()))
    };
    let line = |line: &str| format!("{line}\r\ncontent-length: 0\r\n\r\n").into_bytes();
    let mut forms = vec![
        ("plain", head("content-length: 2\r\n\r\nok")),
        ("folded headers", head("x-trace: a\r\n  b\r\n\tc\r\ncontent-length: 0\r\n\r\n")),
        ("a space before the colon", head("x-trace : a\r\ncontent-length : 0\r\n\r\n")),
        ("120 headers", many(120)),
        ("5000 headers", many(5_000)),
        ("a header of 64 KB", head(&format!("x-big: {}\r\ncontent-length: 0\r\n\r\n", "b".repeat(65_536)))),
        ("a header of 1 MB", head(&format!("x-big: {}\r\ncontent-length: 0\r\n\r\n", "b".repeat(1 << 20)))),
        ("no reason", line(&format!("HTTP/1.1 {status}"))),
        ("no reason, with a space", line(&format!("HTTP/1.1 {status} "))),
        ("HTTP/1.0", line(&format!("HTTP/1.0 {status} x"))),
        ("HTTP/1.0, chunked", format!("HTTP/1.0 {status} x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n").into()),
        ("a later minor version", line(&format!("HTTP/1.2 {status} x"))),
        ("bare line feeds", format!("HTTP/1.1 {status} x\nx-a: b\ncontent-length: 0\n\n").into()),
        ("empty lines first", format!("\r\n\r\nHTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n").into()),
        ("no length: until the end", head("\r\nthe body")),
        ("chunks with extensions", head("transfer-encoding: chunked\r\n\r\n2;a=\"b\"\r\nok\r\n0;c\r\n\r\n")),
        ("chunks with trailers", head("transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n")),
        ("a chunk that is no chunk", head("transfer-encoding: chunked\r\n\r\nzz\r\nok\r\n")),
        ("chunks that end early", head("transfer-encoding: chunked\r\n\r\n9\r\nok")),
        ("an unknown transfer coding", head("transfer-encoding: zip\r\n\r\nok")),
        ("a length and chunks", head("content-length: 9\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n")),
        ("the length twice", head("content-length: 2\r\ncontent-length: 2\r\n\r\nok")),
        ("the length as a list", head("content-length: 2, 2\r\n\r\nok")),
        ("two lengths", head("content-length: 2\r\ncontent-length: 3\r\n\r\nok")),
        ("a length that is no number", head("content-length: two\r\n\r\nok")),
        ("a negative length", head("content-length: -2\r\n\r\nok")),
        ("a length that is too long", head("content-length: 99999999999999999999999\r\n\r\nok")),
        ("a body that ends early", head("content-length: 99\r\n\r\nok")),
        ("a body that is too long", head("content-length: 2\r\n\r\nok, and more")),
        ("a head that ends early", head("content-le")),
        ("gzip", [head("content-encoding: gzip\r\ncontent-length: 4\r\n\r\n"), vec![0x1f, 0x8b, 8, 0]].concat()),
        (
            "a header that is not UTF-8",
            [head("x-name: "), vec![0xe9, 0xff], b"\r\ncontent-length: 0\r\n\r\n".into()].concat(),
        ),
        (
            "a reason that is not UTF-8",
            [format!("HTTP/1.1 {status} ").into(), vec![0xe9, 0xff], b"\r\n\r\n".to_vec()].concat(),
        ),
        ("a control character in a header", head("x-name: a\u{1}b\r\ncontent-length: 0\r\n\r\n")),
        ("a name that is no token", head("x name(: a\r\ncontent-length: 0\r\n\r\n")),
        ("a line without a colon", head("nonsense\r\ncontent-length: 0\r\n\r\n")),
        ("an empty name", head(": a\r\ncontent-length: 0\r\n\r\n")),
    ];
    for interim in ["100 Continue", "102 Processing", "103 Early Hints"] {
        let interim = format!("HTTP/1.1 {interim}\r\nlink: </a>\r\n\r\n").into_bytes();
        forms.push(("an interim response first", [interim, head("content-length: 0\r\n\r\n")].concat()));
    }
    forms
}

#[tokio::test]
async fn no_form_of_a_response_makes_a_delivery_be_sent_again() {
    for status in ["200", "202", "204"] {
        for (form, bytes) in forms(status).into_iter().step_by(if is_quick() { 5 } else { 1 }) {
            let server = Scripted::start(move |_| Act::Raw(bytes.clone())).await;
            let (mut spec, _) = http_spec(server.addr);
            spec.timeout = Duration::from_secs(30);
            let (agent, _) = connect(spec);
            let answer = agent.attempt(&mut agent.session(), &delivery("e1")).await;
            let expected = Answer::Accepted { run_id: None, found: false, status: Some(status.parse().unwrap()) };
            assert_eq!(answer, expected, "{status}: {form}");
            assert_eq!(server.lines(), ["POST /events"], "{status}: {form}");
        }
    }
}

#[tokio::test]
async fn a_refusal_is_told_by_its_status_whatever_the_form_of_the_response() {
    for (status, class) in [("401", Class::AgentFault), ("422", Class::EventFault), ("503", Class::Ambiguous)] {
        for (form, bytes) in forms(status).into_iter().step_by(if is_quick() { 5 } else { 1 }) {
            let server = Scripted::start(move |_| Act::Raw(bytes.clone())).await;
            let (mut spec, _) = http_spec(server.addr);
            spec.timeout = Duration::from_secs(30);
            let (agent, _) = connect(spec);
            let failure = failed(agent.attempt(&mut agent.session(), &delivery("e1")).await);
            assert_eq!((failure.class, failure.kind.as_str()), (class, status), "{form}: {}", failure.reason);
            assert_eq!(failure.status, Some(status.parse().unwrap()), "{form}");
        }
    }
}

#[tokio::test]
async fn what_is_no_response_of_http_is_a_broken_connection() {
    for bytes in
        [&b""[..], b"HTTP/1.1 200", b"HTTP/1.1 2 x\r\n\r\n", b"ICY 200 OK\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"]
    {
        let server = Scripted::start(move |_| Act::Raw(bytes.to_vec())).await;
        let (agent, _) = connect(http_spec(server.addr).0);
        let failure = failed(agent.attempt(&mut agent.session(), &delivery("e1")).await);
        assert_eq!((failure.class, failure.kind.as_str()), (Class::Ambiguous, "io"), "{}", failure.reason);
    }
}

#[tokio::test]
async fn a_failure_names_the_address_without_its_query_and_shows_no_token_that_the_answer_repeats() {
    let body = "no such page: /events?token=hunter2-hunter2&x=1, token hunter2-hunter2\u{1b}[2J";
    let server = Scripted::start(move |_| Act::text(404, "", body)).await;
    for (addr, said) in [
        (server.addr, "answered 404: no such page: /events?[secret], token [secret]\\u{1b}[2J"),
        (NOBODY, "was not answered: client error (Connect)"),
    ] {
        let (mut spec, mut http) = http_spec(addr);
        http.url = format!("http://{addr}/events?token=hunter2-hunter2&x=1").parse().unwrap();
        spec.endpoint = Endpoint::Http(http);
        let (agent, _) = connect(spec);
        let failure = failed(agent.attempt(&mut agent.session(), &delivery("e1")).await);
        let expected = format!("POST http://{addr}/events {said}");
        assert!(failure.reason.starts_with(&expected), "{}", failure.reason);
        assert!(!failure.reason.contains("hunter2"), "{}", failure.reason);
    }
}

#[tokio::test]
async fn a_compressed_body_is_not_shown_as_text() {
    let answer = b"HTTP/1.1 403 x\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\n\x1f\x8b\x08\x00";
    let server = Scripted::start(move |_| Act::Raw(answer.to_vec())).await;
    let (agent, _) = connect(http_spec(server.addr).0);
    let failure = failed(agent.attempt(&mut agent.session(), &delivery("e1")).await);
    assert!(failure.reason.ends_with("answered 403: [a body in the coding gzip, not shown]"), "{}", failure.reason);
    assert_eq!(header(&server.heard()[0], "accept-encoding"), "identity");
}
