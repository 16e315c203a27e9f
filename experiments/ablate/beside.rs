//! Other systems' lists, beside the teacher's for the same conversations.

use std::error::Error;
use std::path::{Path, PathBuf};

use convrec::retrieve::Fitted;
use convrec_catalog::Catalog;
use convrec_cli::steps::Step;
use convrec_core::{Example, ItemId};
use convrec_metrics::trec::Run;
use convrec_train::evaluate::judge_example;
use convrec_train::trec::listed;

/// The systems that are compared with the teacher.
#[derive(clap::Args)]
pub struct Beside {
    /// A retriever, as `fit_retriever` writes it. Its lists are compared with the teacher's, for
    /// the conversations that the teacher answered. It may be given often.
    #[arg(long)]
    retriever: Vec<PathBuf>,
    /// A TREC run, as `evaluate --run` writes it, whose lists are compared in the same way.
    /// Document `r<n>` is item n of the catalog, from 0. It may be given often.
    #[arg(long)]
    run: Vec<PathBuf>,
}

impl Beside {
    /// The lists of each system, as a step for each, with at most `n` items.
    ///
    /// # Errors
    /// An error when a file cannot be read, or a run lacks a conversation or has unknown items.
    pub fn steps(
        &self,
        catalog: &Catalog,
        examples: &[&Example],
        n: usize,
    ) -> Result<Vec<Step>, Box<dyn Error>> {
        let mut found = vec![];
        for path in &self.retriever {
            let retriever = Fitted::read(path)?.over(catalog);
            let list = |example: &&Example| retriever.candidates(example, n).items().to_vec();
            let lists = examples.iter().map(list).collect();
            found.push(step(path, catalog, examples, lists, n));
        }
        for path in &self.run {
            let run = Run::read_file(path)?;
            let list = |example: &&Example| of_run(&run, &example.id, catalog);
            let lists: Result<Vec<_>, Box<dyn Error>> = examples.iter().map(list).collect();
            let lists = lists.map_err(|e| format!("{}: {e}", path.display()))?;
            found.push(step(path, catalog, examples, lists, n));
        }
        Ok(found)
    }
}

/// A conversation's list, which has to be there.
fn of_run(run: &Run, query: &str, catalog: &Catalog) -> Result<Vec<ItemId>, Box<dyn Error>> {
    let list = listed(run, query, catalog)?;
    match list.is_empty() {
        true => Err(format!(
            "query `{query}`: no list, expected one for every conversation that the teacher \
             answered; is it a run of other conversations?"
        )
        .into()),
        false => Ok(list),
    }
}

fn step(
    path: &Path,
    catalog: &Catalog,
    examples: &[&Example],
    lists: Vec<Vec<ItemId>>,
    n: usize,
) -> Step {
    let judge =
        |(example, list): (&&Example, &Vec<ItemId>)| judge_example(catalog, example, list, n);
    Step {
        name: path.display().to_string(),
        in_catalog: 1.0,
        judged: examples.iter().zip(&lists).map(judge).collect(),
        lists,
    }
}

#[cfg(test)]
mod tests {
    use convrec_core::{CatalogItem, Item, Turn};

    use super::*;

    #[test]
    fn retrievers_and_runs_give_lists_of_the_same_conversations() {
        let film = |title: &str| CatalogItem {
            title: title.into(),
            year: Some(1990),
            genres: vec![],
            metadata: String::new(),
        };
        let catalog =
            Catalog::new(["Heat", "Ronin", "Alien", "Aliens"].map(film).to_vec()).unwrap();
        let conversation = |n: usize, seen: &str, right: &str| Example {
            id: format!("dialog{n}-1"),
            dialog: vec![Turn::user("another one?")],
            seen: vec![Item::new(seen, 1990)],
            ground_truth: vec![Item::new(right, 1990)],
        };
        let pairs = [("Heat", "Ronin"), ("Alien", "Aliens")];
        let training = (0..8).map(|n| conversation(n, pairs[n % 2].0, pairs[n % 2].1));
        let fitted = Fitted::fit(&catalog, &training.collect::<Vec<_>>()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let [retriever, run] =
            ["retriever.jsonl", "lists.run"].map(|name| folder.path().join(name));
        fitted.write(&retriever).unwrap();
        std::fs::write(&run, "dialog9-1 Q0 r1 1 2.0 x\ndialog9-1 Q0 r3 2 1.0 x\n").unwrap();
        let beside = Beside {
            retriever: vec![retriever],
            run: vec![run],
        };

        let asked = conversation(9, "Alien", "Aliens");
        let steps = beside.steps(&catalog, &[&asked], 2).unwrap();
        assert_eq!(steps[0].lists[0][0], ItemId(3));
        assert_eq!(steps[1].lists[0], [ItemId(1), ItemId(3)]);
        assert_eq!(steps[1].judged.len(), 1);

        let other = conversation(10, "Alien", "Aliens");
        let error = beside.steps(&catalog, &[&other], 2).err().unwrap();
        let error = error.to_string();
        let expected = "lists.run: query `dialog10-1`: no list";
        assert!(error.contains(expected), "{error}");
    }
}
