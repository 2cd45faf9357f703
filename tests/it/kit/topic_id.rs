//! Which topic stands behind a name: its id, asked of each broker by itself.
//!
//! A topic that was deleted and created again has another id. The client library does not tell it, so this speaks the one
//! request of Kafka's protocol that does: Metadata, version 12.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

const METADATA: i16 = 3;
const VERSION: i16 = 12;
const TIMEOUT: Duration = Duration::from_secs(10);
/// No answer about one topic is as long.
const MAX_ANSWER: u32 = 4 << 20;

/// The id of a topic.
pub type TopicId = [u8; 16];

/// The id of the topic of this name as this broker knows it; `None` when it knows none.
pub fn topic_id(broker: SocketAddr, name: &str) -> Result<Option<TopicId>, String> {
    let mut stream = TcpStream::connect_timeout(&broker, TIMEOUT).map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(TIMEOUT)).map_err(|error| error.to_string())?;
    stream.write_all(&request(name)).map_err(|error| error.to_string())?;
    let mut length = [0; 4];
    stream.read_exact(&mut length).map_err(|error| error.to_string())?;
    let length = u32::from_be_bytes(length);
    if length > MAX_ANSWER {
        return Err(format!("an answer of {length} bytes"));
    }
    let mut answer = vec![0; length as usize];
    stream.read_exact(&mut answer).map_err(|error| error.to_string())?;
    let id = Answer(&answer).topic().ok_or_else(|| "an answer that ends too early".to_owned())?;
    Ok(Some(id).filter(|id| *id != TopicId::default()))
}

fn request(name: &str) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(METADATA.to_be_bytes());
    body.extend(VERSION.to_be_bytes());
    // The correlation id, no client id, no tagged fields.
    body.extend([0, 0, 0, 1, 0xff, 0xff, 0]);
    // One topic, without an id; a compact string has its length and one more.
    body.push(2);
    body.extend([0; 16]);
    body.push(u8::try_from(name.len() + 1).ok().filter(|length| *length < 128).expect("a short name"));
    body.extend(name.as_bytes());
    // No tagged fields of the topic; it is not created; no list of what is allowed; no tagged fields.
    body.extend([0, 0, 0, 0]);
    let length = u32::try_from(body.len()).expect("a short request");
    [&length.to_be_bytes()[..], &body].concat()
}

/// What is left of an answer.
struct Answer<'a>(&'a [u8]);

impl<'a> Answer<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, left) = self.0.split_at_checked(count)?;
        self.0 = left;
        Some(taken)
    }

    fn varint(&mut self) -> Option<usize> {
        let mut value = 0;
        for shift in (0..35).step_by(7) {
            let byte = usize::from(*self.take(1)?.first()?);
            value |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// The length of a compact string or array; 0 for none.
    fn length(&mut self) -> Option<usize> {
        Some(self.varint()?.saturating_sub(1))
    }

    fn skip_string(&mut self) -> Option<()> {
        let length = self.length()?;
        self.take(length).map(drop)
    }

    fn skip_tags(&mut self) -> Option<()> {
        for _ in 0..self.varint()? {
            self.varint()?;
            let length = self.varint()?;
            self.take(length)?;
        }
        Some(())
    }

    /// The id of the first topic: zeros when the broker does not know it.
    fn topic(mut self) -> Option<TopicId> {
        self.take(4)?;
        self.skip_tags()?;
        // How long the client is throttled.
        self.take(4)?;
        for _ in 0..self.length()? {
            self.take(4)?;
            self.skip_string()?;
            self.take(4)?;
            self.skip_string()?;
            self.skip_tags()?;
        }
        // The cluster, the controller, the number of topics.
        self.skip_string()?;
        self.take(4)?;
        self.length()?;
        self.take(2)?;
        self.skip_string()?;
        self.take(16)?.try_into().ok()
    }
}
