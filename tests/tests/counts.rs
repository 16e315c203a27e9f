//! What the work costs in numbers that do not depend on the machine. None may grow unnoticed.
//!
//! A change that makes one smaller puts the new number here. A change that makes one larger says in
//! its commit what is gained for it. The test has a binary of its own, as it counts the allocations
//! of the whole process.

use burn::module::Module;
use burn::tensor::Device;
use convrec_policy::{
    Allowed, Completion, Generation, ModelConfig, Policy, Sampling, Sequence, Work,
};
use convrec_testdata::memory::{Counting, allocations, held, peak};
use convrec_text::ListTrie;
use convrec_train::InCatalog;
use convrec_world::World;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Lists are written in bytes; these are the tokens beside.
const END: u32 = 256;
const VOCABULARY: usize = 257;
const RANKS: usize = 20;
const PROMPTS: usize = 4;
const GROUP: usize = 8;
const BLOCKS: usize = 3;

/// Counts of the work on the embedded world's catalog; sizes in bytes.
const COMMITTED: [(&str, usize); 12] = [
    ("trie: bytes an item", 443),
    ("list: tokens", 395),
    ("list: forward passes that it takes part in", 47),
    ("list: allocations of a walk through the trie", 13),
    ("rollout: forward passes", 53),
    ("rollout: tokens through a block", 12_470),
    ("rollout: allocations", 192_120),
    ("rollout: peak", 36_805_776),
    ("update: tokens through a block", 13_011),
    ("update: allocations", 92_286),
    ("update: peak", 97_892_684),
    (
        "update with gradient checkpointing: tokens through a block",
        26_022,
    ),
];

#[test]
fn nothing_costs_more_than_it_did() {
    // Threads allocate at their own times.
    rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build_global()
        .unwrap();
    let found = measure();
    let mut worse = vec![];
    for ((name, found), (committed_name, committed)) in found.iter().zip(COMMITTED) {
        assert_eq!(*name, committed_name);
        println!("{name}: {found} (committed: {committed})");
        // Allocations and bytes move a little with the standard library and the processor.
        let slack = match ["allocations", "peak", "bytes"]
            .iter()
            .any(|w| name.contains(w))
        {
            true => committed / 20,
            false => 0,
        };
        if *found > committed + slack {
            worse.push(format!("{name}: {found}, was {committed}"));
        }
    }
    assert!(worse.is_empty(), "these have grown:\n{}", worse.join("\n"));
}

fn measure() -> Vec<(&'static str, usize)> {
    let items: Vec<Vec<u32>> = World::embedded()
        .catalog()
        .iter()
        .map(|item| item.item().to_string().bytes().map(u32::from).collect())
        .collect();
    let (trie, bytes) =
        held(|| ListTrie::from_token_ids(&items, &[u32::from(b'\n')], END, RANKS).unwrap());
    let begin = || InCatalog(trie.cursor(&[]).unwrap());
    let config = ModelConfig::small(VOCABULARY, 32, BLOCKS, 4);
    let policy = Policy::new(&config, 1, &Device::flex().autodiff()).unwrap();
    let prompts: Vec<Vec<u32>> = (0..PROMPTS)
        .map(|p| (0..100).map(|t| ((t * 31 + p * 17) % 256) as u32).collect())
        .collect();
    let slices: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();

    let generation = Generation {
        // So hot that all tokens are as likely, and what is drawn does not depend on rounding.
        sampling: Sampling {
            temperature: 1e6,
            ..Sampling::default()
        },
        group_size: GROUP,
        max_new_tokens: trie.longest_list(),
        end_token: END,
        max_rows: PROMPTS * GROUP,
        seed: 3407,
    };
    let sampler = policy.valid();
    let mut found: Vec<Vec<Completion>> = vec![];
    let rollout = Cost::of(|| {
        found = sampler.generate_constrained(&slices, &generation, &|_| Box::new(begin()));
    });
    let lists: Vec<(&[u32], &Completion)> = slices
        .iter()
        .zip(&found)
        .flat_map(|(prompt, group)| group.iter().map(|c| (*prompt, c)))
        .collect();
    assert!(lists.iter().all(|(_, list)| list.ended), "lists are whole");
    let sum = |f: fn(&Completion) -> usize| lists.iter().map(|(_, list)| f(list)).sum::<usize>();

    let before = allocations();
    for (_, list) in &lists {
        let mut cursor = trie.cursor(&[]).unwrap();
        list.tokens.iter().for_each(|token| cursor.push(*token));
    }
    let walk = (allocations() - before) / lists.len();

    let update = |policy: &Policy| {
        let allowed: Vec<Allowed> = lists
            .iter()
            .map(|(_, list)| Allowed::along(&mut begin(), &list.tokens))
            .collect();
        let allowed: Vec<&Allowed> = allowed.iter().collect();
        let rows: Vec<Sequence<'_>> = lists
            .iter()
            .map(|(prompt, list)| Sequence {
                prompt,
                completion: &list.tokens,
            })
            .collect();
        Cost::of(|| {
            let output = policy.log_probs_constrained(&rows, &allowed, 1.0);
            output.tape.backward(output.log_probs.sum(), policy);
        })
    };
    let whole = update(&policy);
    let checkpointed = update(&policy.clone().with_gradient_checkpointing(true));
    let names = COMMITTED.iter().map(|(name, _)| *name);
    names
        .zip([
            bytes / items.len(),
            sum(|list| list.tokens.len()) / lists.len(),
            sum(|list| list.passes) / lists.len(),
            walk,
            rollout.passes,
            rollout.tokens,
            rollout.allocations,
            rollout.peak,
            whole.tokens,
            whole.allocations,
            whole.peak,
            checkpointed.tokens,
        ])
        .collect()
}

struct Cost {
    passes: usize,
    /// Through one block.
    tokens: usize,
    allocations: usize,
    peak: usize,
}

impl Cost {
    fn of(f: impl FnOnce()) -> Self {
        let (asked, work) = (allocations(), Work::so_far());
        let peak = peak(f);
        let done = Work::so_far();
        Self {
            passes: (done.passes - work.passes) as usize,
            tokens: (done.block_tokens - work.block_tokens) as usize / BLOCKS,
            allocations: allocations() - asked,
            peak: (peak * 1e6) as usize,
        }
    }
}
