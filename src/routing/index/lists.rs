//! The rules of each key.

/// Lists of rules, one behind the other: most have a single rule, and there are as many as rules.
#[derive(Debug, Default)]
pub(super) struct Lists {
    /// Where each list ends; it begins where the one before it does.
    ends: Box<[usize]>,
    rules: Box<[usize]>,
}

impl Lists {
    /// So many lists, of pairs of a list and a rule that is in it.
    pub(super) fn new(count: usize, mut members: Vec<(usize, usize)>) -> Self {
        members.sort_unstable();
        members.dedup();
        let mut ends = vec![0; count];
        for (list, _) in &members {
            ends[*list] += 1;
        }
        let mut end = 0;
        for of_list in &mut ends {
            end += *of_list;
            *of_list = end;
        }
        Self { ends: ends.into(), rules: members.into_iter().map(|(_, rule)| rule).collect() }
    }

    /// The rules of a list, each once, ascending.
    pub(super) fn get(&self, list: usize) -> &[usize] {
        let begin = list.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        self.ends.get(list).and_then(|end| self.rules.get(begin..*end)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_list_has_its_own_rules_once_in_order() {
        let lists = Lists::new(4, vec![(2, 7), (0, 5), (2, 1), (0, 5), (3, 0)]);
        assert_eq!([0, 1, 2, 3, 4].map(|list| lists.get(list)), [&[5][..], &[], &[1, 7], &[0], &[]]);
        assert!(Lists::default().get(0).is_empty());
    }
}
