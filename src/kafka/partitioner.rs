//! In which partition the publish client and the Java clients write a key. Pure.

/// The partition of a key among so many: `murmur2`, as the default partitioner of the Java clients.
pub(crate) fn partition_of(key: &[u8], partitions: i32) -> i32 {
    let hash = i32::from_ne_bytes(murmur2(key).to_ne_bytes()) & i32::MAX;
    hash % partitions.max(1)
}

fn murmur2(bytes: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    const SEED: u32 = 0x9747_b28c;
    // A key of 4 GiB is none.
    let mut hash = SEED ^ u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    if !rest.is_empty() {
        for (index, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of Kafka's own test, `UtilsTest.testMurmur2`.
    #[test]
    fn a_key_has_the_hash_that_kafka_gives_it() {
        for (key, expected) in [
            ("21", -973_932_308_i32),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()), expected.cast_unsigned(), "{key}");
            for partitions in [1, 3, 12] {
                let expected = (expected & i32::MAX) % partitions;
                assert_eq!(partition_of(key.as_bytes(), partitions), expected, "{key}");
            }
        }
        assert_eq!(partition_of(b"", 0), 0);
    }
}
