use std::collections::{HashMap, VecDeque};

use proptest::prelude::*;

use super::*;

#[test]
fn of_one_id_one_is_in_flight_and_the_others_follow_in_order() {
    let mut registry = InFlightRegistry::default();
    assert_eq!(registry.begin("a", 1), Some(1));
    assert_eq!(registry.begin("a", 2), None);
    assert_eq!(registry.begin("b", 3), Some(3));
    assert_eq!(registry.begin("a", 4), None);
    assert_eq!(registry.counts(), (2, 2));

    assert_eq!(registry.end("a"), Some(2));
    assert!(registry.contains("a"), "the one that waited is in flight now");
    assert_eq!(registry.begin("a", 5), None);
    assert_eq!(registry.end("a"), Some(4));
    assert_eq!(registry.end("a"), Some(5));
    assert_eq!(registry.end("a"), None);
    assert!(!registry.contains("a") && registry.contains("b"));
    assert_eq!(registry.end("b"), None);
    assert_eq!(registry.counts(), (0, 0));
}

#[test]
fn an_end_without_a_beginning_is_nothing() {
    let mut registry = InFlightRegistry::<u8>::default();
    assert_eq!(registry.end("a"), None);
    assert_eq!(registry.counts(), (0, 0));
}

proptest! {
    /// Against the plainest model: every item is handed out once, in order per id, one at a time.
    #[test]
    fn any_order_of_begins_and_ends_hands_out_every_item_once(steps in proptest::collection::vec((0..4_u8, any::<bool>()), 0..200)) {
        let mut registry = InFlightRegistry::default();
        let mut model: HashMap<u8, VecDeque<usize>> = HashMap::new();
        for (item, (id, begins)) in steps.into_iter().enumerate() {
            let name = id.to_string();
            if begins {
                let queue = model.entry(id).or_default();
                queue.push_back(item);
                let first = queue.len() == 1;
                prop_assert_eq!(registry.begin(&name, item), first.then_some(item));
            } else {
                let queue = model.entry(id).or_default();
                queue.pop_front();
                prop_assert_eq!(registry.end(&name), queue.front().copied());
            }
            for (id, queue) in &model {
                prop_assert_eq!(registry.contains(&id.to_string()), !queue.is_empty());
            }
            let (in_flight, waiting) = registry.counts();
            prop_assert_eq!(in_flight, model.values().filter(|queue| !queue.is_empty()).count());
            prop_assert_eq!(in_flight + waiting, model.values().map(VecDeque::len).sum::<usize>());
        }
    }
}
