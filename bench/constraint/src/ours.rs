//! The token trie of `convrec-text`.

use std::error::Error;

use convrec_core::{Item, ItemId};
use convrec_text::{ListCursor, ListFormat, ListTrie};

use crate::measure::{Refuses, Times, built};
use crate::walks::{N, Paths, Walk};

pub fn run(paths: &Paths, open: bool) -> Result<(), Box<dyn Error>> {
    let (tokenizer, walks) = (paths.tokenizer()?, paths.walks()?);
    let items: Vec<Item> = paths
        .names()?
        .into_iter()
        .map(|name| Item::new(name, None))
        .collect();
    let format = ListFormat::default();
    let (trie, before) = built(|| {
        let (file, end) = (paths.trie(), walks.end);
        Ok(match open {
            true => ListTrie::open(file, &tokenizer, format, end, &items, N)?,
            false => ListTrie::new(&tokenizer, format, end, &items, N)?,
        })
    })?;
    if !open {
        trie.save(paths.trie())?;
    }

    let (mut times, mut passes) = (Times::default(), 0);
    let mut bits = vec![0; walks.vocabulary.div_ceil(32)];
    for walk in &walks.walks {
        let mut cursor = times.begin(|| {
            let cursor = trie.cursor(&ids(&walk.seen));
            cursor.inspect(|cursor| cursor.mask_bits(&mut bits))
        })?;
        for (place, token) in walk.tokens.iter().enumerate() {
            passes += usize::from(cursor.forced().is_none());
            if place + 1 == walk.tokens.len() {
                break;
            }
            times.step(|| {
                cursor.push(*token);
                cursor.mask_bits(&mut bits);
            });
            let next = walk.tokens[place + 1] as usize;
            assert!(bits[next / 32] >> (next % 32) & 1 == 1);
        }
    }
    let refuses = refuses(&trie, &walks.walks[0])?;
    times.print(walks.walks.len(), passes, before, &refuses);
    Ok(())
}

fn refuses(trie: &ListTrie, walk: &Walk) -> Result<Refuses, Box<dyn Error>> {
    let first: Vec<u32> = first_line(trie, walk)?;
    let accepts = |cursor: &mut ListCursor, tokens: &[u32]| {
        tokens.iter().all(|token| cursor.try_push(*token).is_ok())
    };
    let mut cursor = trie.cursor(&[])?;
    assert!(accepts(&mut cursor, &first));
    Ok(Refuses {
        short: !cursor.clone().is_allowed(trie.end()),
        repeats: !accepts(&mut cursor, &first),
        seen: !accepts(&mut trie.cursor(&ids(&walk.items[..1]))?, &first),
    })
}

/// The tokens of the first item of a list.
fn first_line(trie: &ListTrie, walk: &Walk) -> Result<Vec<u32>, Box<dyn Error>> {
    let mut cursor = trie.cursor(&[])?;
    let is_first = |token: &&u32| {
        let more = cursor.items().is_empty();
        cursor.push(**token);
        more
    };
    Ok(walk.tokens.iter().take_while(is_first).copied().collect())
}

fn ids(ids: &[u32]) -> Vec<ItemId> {
    ids.iter().map(|id| ItemId(*id)).collect()
}
