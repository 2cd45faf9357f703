//! The headers by which a record that is published again asks that one delivery of its event is made again.
//!
//! Anybody who may publish may write them: they ask, and the ledger decides. Their names begin as those of dead letters
//! do, so a dead letter of the record does not keep them.

use std::sync::Arc;

use super::generation::Generation;

const PREFIX: &str = "dlq-redrive-";
const RULE: &str = "dlq-redrive-rule";
const AGENT: &str = "dlq-redrive-agent";
const GENERATION: &str = "dlq-redrive-generation";
const AGAIN: &str = "dlq-redrive-again";
const FORCE: &str = "dlq-redrive-force";

/// The longest name of a rule or an agent, in bytes: of handlers, and as in routing files.
pub(crate) const MAX_NAME_BYTES: usize = 64;

/// Which delivery is to be made again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RedriveRequest {
    /// The rule's name.
    pub rule: Arc<str>,
    /// The agent's name.
    pub agent: Arc<str>,
    /// The generation that the delivery is to get. [`Generation::FIRST`]: it was never planned, and is to be made for the first
    /// time. One that is sent again begins with the number 0.
    pub generation: Generation,
    /// Also when the ledger does not know the event.
    pub is_forced: bool,
}

/// A header of a redrive that is absent, there twice, or unusable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the header `{0}` is absent, there twice, or has an unusable value")]
pub(crate) struct BadRedrive(&'static str);

impl RedriveRequest {
    /// Reads the headers of a record; `None` when it asks for no redrive.
    pub(crate) fn read<'a>(
        headers: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>,
    ) -> Option<Result<Self, BadRedrive>> {
        let mut own = headers.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).peekable();
        own.peek()?;
        let (mut rule, mut agent, mut generation, mut again, mut force) = (None, None, None, None, None);
        for (name, value) in own {
            let (slot, name) = match name {
                RULE => (&mut rule, RULE),
                AGENT => (&mut agent, AGENT),
                GENERATION => (&mut generation, GENERATION),
                AGAIN => (&mut again, AGAIN),
                FORCE => (&mut force, FORCE),
                // Of a later version.
                _ => continue,
            };
            let value = value.and_then(|value| std::str::from_utf8(value).ok());
            match value.filter(|value| !value.is_empty() && value.len() <= MAX_NAME_BYTES) {
                Some(value) if slot.is_none() => *slot = Some(value),
                _ => return Some(Err(BadRedrive(name))),
            }
        }
        let required = |value: Option<&str>, name| value.map(Arc::from).ok_or(BadRedrive(name));
        let read = || {
            Ok(Self {
                rule: required(rule, RULE)?,
                agent: required(agent, AGENT)?,
                generation: Generation {
                    again: match again {
                        None => 0,
                        Some(text) => number(text).filter(|again| *again > 0).ok_or(BadRedrive(AGAIN))?,
                    },
                    number: generation.and_then(number).ok_or(BadRedrive(GENERATION))?,
                },
                is_forced: match force {
                    None => false,
                    Some("true") => true,
                    Some(_) => return Err(BadRedrive(FORCE)),
                },
            })
        };
        Some(read())
    }

    /// The headers that [`read`](Self::read) reads.
    pub(crate) fn headers(&self) -> Vec<(String, Option<Vec<u8>>)> {
        let mut headers = vec![
            (RULE.to_owned(), self.rule.to_string()),
            (AGENT.to_owned(), self.agent.to_string()),
            (GENERATION.to_owned(), self.generation.number.to_string()),
        ];
        if self.generation.again > 0 {
            headers.push((AGAIN.to_owned(), self.generation.again.to_string()));
        }
        if self.is_forced {
            headers.push((FORCE.to_owned(), "true".to_owned()));
        }
        headers.into_iter().map(|(name, value)| (name, Some(value.into_bytes()))).collect()
    }
}

/// A number without a sign.
fn number<N: std::str::FromStr>(text: &str) -> Option<N> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(headers: &[(String, Option<Vec<u8>>)]) -> Option<Result<RedriveRequest, BadRedrive>> {
        RedriveRequest::read(headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())))
    }

    fn request() -> RedriveRequest {
        RedriveRequest { rule: "all".into(), agent: "audit".into(), generation: 7.into(), is_forced: false }
    }

    #[test]
    fn a_request_is_read_as_it_was_written() {
        for request in [
            request(),
            RedriveRequest { generation: Generation::FIRST, ..request() },
            RedriveRequest { is_forced: true, generation: u32::MAX.into(), ..request() },
            RedriveRequest { generation: Generation { again: 1, number: 0 }, ..request() },
            RedriveRequest { generation: Generation { again: u16::MAX, number: 3 }, ..request() },
        ] {
            let mut headers = request.headers();
            headers.insert(0, ("event_id".into(), Some(b"e".to_vec())));
            headers.push(("dlq-redrive-later".into(), None));
            assert_eq!(read(&headers), Some(Ok(request)));
        }
        let others = [("dlq-rule".to_owned(), Some(b"all".to_vec())), ("event_id".to_owned(), None)];
        assert_eq!((read(&others), read(&[])), (None, None));
    }

    #[test]
    fn a_request_without_one_of_its_headers_is_none_and_names_it() {
        let generation = Generation { again: 2, number: 7 };
        let forced = RedriveRequest { is_forced: true, generation, ..request() }.headers();
        for at in 0..forced.len() {
            let name = &forced[at].0;
            let mut wrong = vec![None, Some(b"\xff".to_vec()), Some(vec![]), Some(vec![b'9'; 65])];
            if name == GENERATION {
                wrong.extend([&b"-1"[..], b"+1", b"4294967296", b"one"].map(|text| Some(text.to_vec())));
            }
            if name == AGAIN {
                wrong.extend([&b"0"[..], b"-1", b"+1", b"65536", b"one"].map(|text| Some(text.to_vec())));
            }
            for value in wrong {
                let mut headers = forced.clone();
                headers[at].1 = value;
                let error = read(&headers).unwrap().unwrap_err();
                assert!(error.to_string().contains(name.as_str()), "{error}");
            }
            let mut twice = forced.clone();
            twice.push(forced[at].clone());
            assert!(read(&twice).unwrap().is_err());
            let mut absent = forced.clone();
            absent.remove(at);
            assert_eq!(read(&absent).unwrap().is_ok(), [FORCE, AGAIN].contains(&name.as_str()));
        }
    }

    proptest! {
        #[test]
        fn no_headers_make_the_reader_panic(
            names in prop::collection::vec(prop::sample::select(vec![RULE, AGENT, GENERATION, AGAIN, FORCE, PREFIX, "x"]), 0..8),
            values in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..70)), 8),
        ) {
            let headers: Vec<_> = names.into_iter().map(str::to_owned).zip(values).collect();
            if let Some(Ok(request)) = read(&headers) {
                prop_assert!(request.rule.len() <= MAX_NAME_BYTES);
            }
        }
    }
}
