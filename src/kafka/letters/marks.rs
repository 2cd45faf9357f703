//! Which letters are done: one bit for each.
//!
//! Only offsets of the part that is read are kept, so its memory is bounded by the length of the topic, whatever the marks
//! say.

use std::collections::BTreeMap;

use super::{
    super::scan::PartitionRange,
    head::{Mark, MarkKind},
};

/// How many offsets a block covers.
const BLOCK: i64 = 4096;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    redriven: Places,
    discarded: Places,
}

#[derive(Debug, Default)]
struct Places {
    blocks: BTreeMap<(i32, i64), Box<[u64; 64]>>,
}

impl Marks {
    /// Keeps a mark of a letter within these ranges.
    pub(crate) fn add(&mut self, mark: Mark, ranges: &[PartitionRange]) {
        let is_read = |range: &PartitionRange| {
            range.partition == mark.partition && (range.from..range.end).contains(&mark.offset)
        };
        if ranges.iter().any(is_read) {
            match mark.kind {
                MarkKind::Redriven => self.redriven.insert(mark.partition, mark.offset),
                MarkKind::Discarded => self.discarded.insert(mark.partition, mark.offset),
            }
        }
    }

    /// How a letter is done, if it is. One that was discarded after its redrive was redriven.
    pub(crate) fn of(&self, partition: i32, offset: i64) -> Option<MarkKind> {
        if self.redriven.contains(partition, offset) {
            return Some(MarkKind::Redriven);
        }
        self.discarded.contains(partition, offset).then_some(MarkKind::Discarded)
    }
}

impl Places {
    fn insert(&mut self, partition: i32, offset: i64) {
        let block = self.blocks.entry((partition, offset / BLOCK)).or_insert_with(|| Box::new([0; 64]));
        let (word, bit) = place(offset);
        if let Some(word) = block.get_mut(word) {
            *word |= bit;
        }
    }

    fn contains(&self, partition: i32, offset: i64) -> bool {
        let (word, bit) = place(offset);
        let block = self.blocks.get(&(partition, offset / BLOCK));
        block.and_then(|block| block.get(word)).is_some_and(|word| word & bit != 0)
    }
}

/// The word of a block, and the bit in it.
fn place(offset: i64) -> (usize, u64) {
    let within = usize::try_from(offset.rem_euclid(BLOCK)).unwrap_or_default();
    (within / 64, 1 << (within % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_of_one_letter_and_counts_only_where_letters_are_read() {
        let ranges = [PartitionRange { partition: 1, from: 100, until: 1_000_000, end: 1_000_000 }];
        let mut marks = Marks::default();
        let marked = [100, 163, 164, 4_095, 4_096, 999_999];
        for offset in marked {
            let kind = if offset % 2 == 0 { MarkKind::Redriven } else { MarkKind::Discarded };
            marks.add(Mark { kind, partition: 1, offset }, &ranges);
        }
        for offset in 0..5_000 {
            let expected = marked.contains(&offset).then_some(if offset % 2 == 0 {
                MarkKind::Redriven
            } else {
                MarkKind::Discarded
            });
            assert_eq!(marks.of(1, offset), expected, "{offset}");
        }
        for (partition, offset) in [(0, 100), (1, 99), (1, 1_000_000), (1, i64::MAX)] {
            marks.add(Mark { kind: MarkKind::Redriven, partition, offset }, &ranges);
            assert_eq!(marks.of(partition, offset), None);
        }
        assert_eq!(marks.redriven.blocks.len() + marks.discarded.blocks.len(), 4);
    }
}
