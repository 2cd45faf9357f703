//! A batch of records of one partition of the ledger topic, in one allocation.

/// Keys and values, in the order of the topic.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    bytes: Vec<u8>,
    /// Where each key and each value ends in `bytes`.
    ends: Vec<(usize, usize)>,
}

impl Entries {
    pub(in super::super) fn push(&mut self, key: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(key);
        let key_end = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.ends.push((key_end, self.bytes.len()));
    }

    /// Empties it and keeps its memory.
    pub(in super::super) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The bytes of all keys and values.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Key and value of each.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|(_, end)| *end));
        starts
            .zip(&self.ends)
            .map(|(start, (key_end, end))| (&self.bytes[start..*key_end], &self.bytes[*key_end..*end]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_as_they_were_pushed() {
        let mut entries = Entries::default();
        let pairs: [(&[u8], &[u8]); 3] = [(b"key", b"value"), (b"", b""), (b"k", b"")];
        for _ in 0..2 {
            for (key, value) in pairs {
                entries.push(key, value);
            }
            assert_eq!(entries.iter().collect::<Vec<_>>(), pairs);
            assert_eq!((entries.len(), entries.bytes()), (3, 9));
            entries.clear();
            assert_eq!((entries.len(), entries.bytes(), entries.iter().count()), (0, 0, 0));
        }
    }
}
