use super::*;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn parent(text: &str) -> Option<String> {
    TraceContext::read([text], [], []).traceparent().map(str::to_owned)
}

fn state(text: &str) -> Option<String> {
    TraceContext::read([PARENT], [text], []).tracestate.map(|text| text.to_string())
}

fn baggage(text: &str) -> Option<String> {
    TraceContext::read([], [], [text]).baggage.map(|text| text.to_string())
}

#[test]
fn only_a_traceparent_that_w3c_allows_is_forwarded() {
    let later = format!("01{}-more.than-this", &PARENT[2..]);
    for text in [PARENT, &later, &PARENT.replace("-01", "-00"), &format!(" {PARENT}\t")] {
        assert_eq!(parent(text).as_deref(), Some(text.trim()), "{text}");
    }
    for text in [
        "",
        "00",
        &PARENT.to_uppercase(),
        &format!("{PARENT}-x"),
        &format!("ff{}", &PARENT[2..]),
        &format!("0{}", &PARENT[2..]),
        &PARENT.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
        &PARENT.replace("b7ad6b7169203331", &"0".repeat(16)),
        &PARENT.replace("b7ad", "b7a"),
        &PARENT.replace("b7ad", "b7ag"),
        &PARENT.replace("-01", "-1"),
        &PARENT.replace('-', "_"),
        &format!("01{}-{}", &PARENT[2..], "x".repeat(9_000)),
        &format!("01{}-é", &PARENT[2..]),
        &format!("{PARENT}\r\nx-evil: 1"),
        &"0".repeat(9_000),
    ] {
        assert_eq!(parent(text), None, "{text:.80}");
    }
    let two = TraceContext::read([PARENT, &PARENT.replace("-01", "-00")], [], []);
    assert_eq!(two, TraceContext::default(), "which of the two is meant, nobody knows");
    assert_eq!(TraceContext::read([PARENT, PARENT], [], []).traceparent(), Some(PARENT));
}

#[test]
fn a_tracestate_goes_with_its_traceparent_and_within_its_bounds() {
    assert_eq!(
        state("rojo=00f067aa0ba902b7 , congo=t61r cWkgMzE").as_deref(),
        Some("rojo=00f067aa0ba902b7,congo=t61r cWkgMzE")
    );
    assert_eq!(state("1tenant@sys=v").as_deref(), Some("1tenant@sys=v"));
    assert_eq!(TraceContext::read([], ["a=1"], []).tracestate, None, "without a traceparent it means nothing");
    for text in ["a", "A=1", "a=1,a=2", "a=b=c", "a=", "=b", "a=é", "a b=1", "@a=1", "a=1\r\nx: y"] {
        assert_eq!(state(text), None, "{text:?}");
    }
    let many: Vec<String> = (0..100).map(|n| format!("k{n}=v")).collect();
    assert_eq!(state(&many.join(",")).unwrap().split(',').count(), MAX_TRACESTATE_MEMBERS);
    let long: Vec<String> = (0..9).map(|n| format!("k{n}={}", "v".repeat(100))).collect();
    let kept = state(&long.join(",")).unwrap();
    assert!(kept.len() <= MAX_TRACESTATE_BYTES && kept.ends_with("vvv"), "whole members only: {kept}");
    let joined = TraceContext::read([PARENT], ["a=1", "b=2"], []).tracestate.unwrap();
    assert_eq!(&*joined, "a=1,b=2");
}

#[test]
fn baggage_keeps_its_valid_members_within_its_bounds() {
    assert_eq!(baggage("a=1;p;q=2, b = %20 ,c=").as_deref(), Some("a=1;p;q=2,b = %20,c="));
    assert_eq!(baggage("a=1,b,c d=2,e=\"3\",f=é,g=\\,h=\r\nx: y,h=\r\nx,i=4").as_deref(), Some("a=1,i=4"));
    assert_eq!(baggage("nothing valid"), None);
    let many: Vec<String> = (0..100).map(|n| format!("k{n}=v")).collect();
    assert_eq!(baggage(&many.join(",")).unwrap().split(',').count(), MAX_BAGGAGE_MEMBERS);
    assert_eq!(baggage(&format!("a={}", "v".repeat(9_000))), None);
    let long: Vec<String> = (0..9).map(|n| format!("k{n}={}", "v".repeat(1_000))).collect();
    assert_eq!(baggage(&long.join(",")).unwrap().split(',').count(), 4);
}

#[test]
fn the_first_trace_wins_and_its_parts_are_not_mixed() {
    let first = TraceContext::read(["not valid"], ["a=1"], ["b=1"]);
    let second = TraceContext::read([PARENT], ["c=1"], ["d=1"]);
    let both = first.or(second.clone());
    assert_eq!((both.traceparent(), both.tracestate.as_deref()), (Some(PARENT), Some("c=1")));
    assert_eq!(both.baggage.as_deref(), Some("b=1"));
    let bare = TraceContext::read([PARENT], [], []);
    assert_eq!(bare.or(second).tracestate, None);
}

#[test]
fn a_text_of_an_event_is_bounded_and_visible() {
    assert_eq!(bounded("etl_orders"), "etl_orders");
    assert_eq!(bounded("a\0b\nc\u{202e}"), "a\u{fffd}b\u{fffd}c\u{fffd}");
    for text in ["x".repeat(100_000), "é".repeat(1_000), "\0".repeat(1_000)] {
        let bounded = bounded(&text);
        assert!(bounded.len() <= MAX_TEXT_BYTES && bounded.ends_with('…'), "{}", bounded.len());
    }
    assert_eq!(bounded(&"x".repeat(MAX_TEXT_BYTES)).len(), MAX_TEXT_BYTES);
}
