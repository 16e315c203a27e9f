//! Unconstrained lists are read by one parse, or with the public code's pairing of rewards and
//! tokens.

mod common;

use common::world;
use convrec_text::segments::{END, NO_RANK, Segmentation};

#[test]
fn the_public_codes_pairing_changes_ranks_and_no_items() {
    let world = world();
    let tokenizer = world.task.prompter().tokenizer();
    let mut tokens = tokenizer.encode("Sure:\n\nFilm One (1990)\n").unwrap();
    tokens.push(world.task.prompter().end());
    let ours = world.task.read(&tokens);
    let theirs = world
        .task
        .clone()
        .with_segmentation(Segmentation::Reference)
        .read(&tokens);
    assert_eq!(
        (ours.names.len(), &ours.names, &ours.items),
        (1, &theirs.names, &theirs.items)
    );
    let (ranks, by_lines) = (&ours.segments.ranks, &theirs.segments.ranks);
    // The preamble has no rank here, and takes that of the first item in the public code. The
    // trailing line feed makes a line of its own there.
    assert_eq!((ranks[0], by_lines[0]), (NO_RANK, 0));
    assert_eq!((ranks.last(), by_lines.last()), (Some(&END), Some(&3)));
    assert!(ranks.contains(&0) && by_lines.contains(&2));
    assert_eq!((ours.segments.items, theirs.segments.items), (1, 4));
}
