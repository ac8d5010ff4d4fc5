//! The tree of orders alone: permutations stand for worlds.

use std::collections::BTreeSet;

use futures::FutureExt;

use super::*;

/// Walks a world in which each of the letters arrives once, in any order. Returns the order.
fn permute(walk: &mut Walk<char>, letters: &str) -> String {
    let mut left: Vec<char> = letters.chars().collect();
    let mut order = String::new();
    while !left.is_empty() {
        let chosen = walk.choose(&left).expect("every list was seen before");
        order.push(left.remove(chosen));
    }
    order
}

fn all(letters: &str, walks_max: usize) -> (Vec<String>, bool) {
    let mut orders = Orders::new(walks_max);
    let mut seen = Vec::new();
    while let Some(mut walk) = orders.next() {
        seen.push(permute(&mut walk, letters));
        orders.walked(&walk);
    }
    (seen, orders.is_exhausted())
}

#[test]
fn every_order_is_walked_once() {
    for (letters, count) in [("a", 1), ("ab", 2), ("abc", 6), ("abcde", 120)] {
        let (seen, exhausted) = all(letters, 1_000);
        assert_eq!(seen.len(), count);
        assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), count, "none is walked twice");
        assert!(exhausted);
    }
}

#[test]
fn world_without_arrivals_has_one_order() {
    assert_eq!(all("", 10), (vec![String::new()], true));
}

#[test]
fn limit_that_is_met_exactly_is_exhaustive_and_one_less_is_not() {
    assert!(all("abc", 6).1);
    let (seen, exhausted) = all("abc", 5);
    assert_eq!(seen.len(), 5);
    assert!(!exhausted);
}

#[test]
fn waiting_lists_never_exceed_the_limit() {
    let mut orders = Orders::new(10);
    while let Some(mut walk) = orders.next() {
        permute(&mut walk, "abcdefgh");
        orders.walked(&walk);
        assert!(orders.waiting.len() <= 10);
    }
    assert!(!orders.is_exhausted());
}

#[test]
fn orders_come_with_the_shortest_list_first() {
    let mut orders = Orders::new(1_000);
    let mut lengths = Vec::new();
    while let Some(mut walk) = orders.next() {
        permute(&mut walk, "abcd");
        lengths.push(walk.list().len());
        orders.walked(&walk);
    }
    assert!(lengths.is_sorted(), "{lengths:?}");
    assert_eq!(lengths.last(), Some(&3), "the last of four needs no choice");
}

#[test]
fn list_leads_to_the_same_order() {
    let mut walk = Walk::random(Dice::new(7));
    let order = permute(&mut walk, "abcdef");
    assert_eq!(permute(&mut Walk::along(walk.list()), "abcdef"), order);
}

#[test]
fn same_seed_draws_the_same_order() {
    let draw = |seed| permute(&mut Walk::random(Dice::new(seed)), "abcdefgh");
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
}

#[test]
fn list_that_does_not_fit_says_what_was_possible() {
    let mut walk = Walk::along(vec!['a', 'x']);
    assert_eq!(walk.choose(&['b', 'a']), Ok(1));
    let misfit = Misfit { after: 1, wanted: 'x', options: vec!['b'] };
    assert_eq!(walk.choose(&['b']), Err(misfit));
}

#[test]
fn list_that_is_longer_than_the_walk_does_not_fit() {
    let mut walk = Walk::along(vec!['a', 'b']);
    assert_eq!(walk.choose(&['a']), Ok(0));
    assert_eq!(walk.end(), Err(Misfit { after: 1, wanted: 'b', options: Vec::new() }));
    assert_eq!(walk.choose(&['b']), Ok(0));
    assert_eq!(walk.end(), Ok(()));
}

#[test]
fn shrunk_list_holds_only_what_is_needed() {
    let fails = async |list: &[char]| {
        let place = |letter| list.iter().position(|other| *other == letter);
        matches!((place('c'), place('a')), (Some(c), Some(a)) if c < a)
    };
    let shrunk = |list: &str| shrink(list.chars().collect(), fails).now_or_never();
    assert_eq!(shrunk("xcyazb"), Some(vec!['c', 'a']));
    assert_eq!(shrunk("ca"), Some(vec!['c', 'a']));
    assert_eq!(shrink(vec!['x', 'y'], async |_: &[char]| true).now_or_never(), Some(Vec::new()));
}
