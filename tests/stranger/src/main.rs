//! Trains a policy, evaluates it and recommends with it.

use convrec::prelude::*;
use convrec::world::{World, WorldConfig};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Conversations about films; in a program of your own, `convrec::read_conversations(path)`.
    let world = World::embedded();
    let catalog = Catalog::new(world.catalog())?;
    let sizes = WorldConfig {
        seed: 7,
        n_train: 600,
        n_validation: 0,
        n_test: 100,
    };
    let split = world.generate(&sizes);

    // The lists to imitate; in a program of your own, `convrec::read_demonstrations(path)`.
    let best =
        |example: &Example| world.oracle_ranking(&split.tastes[&example.id], &example.seen, 10);
    let names = |example| {
        best(example)
            .into_iter()
            .map(|id| catalog[id].item())
            .collect()
    };
    let demonstrations: Vec<Demonstration> = split
        .train
        .iter()
        .map(|example| Demonstration {
            example: example.clone(),
            list: names(example),
        })
        .collect();

    let folder = std::path::Path::new("target/stranger");
    let _ = std::fs::remove_dir_all(folder);
    std::fs::create_dir_all(folder)?;
    let items: Vec<_> = catalog.iter().map(|(_, item)| item.clone()).collect();
    convrec::core::jsonl::write_file(folder.join("catalog.jsonl"), &items)?;
    convrec::core::jsonl::write_file(folder.join("lists.jsonl"), &demonstrations)?;

    let mut settings = Layer::flags();
    settings.set("files.catalog", Some(folder.join("catalog.jsonl")));
    settings.set("files.demonstrations", Some(folder.join("lists.jsonl")));
    settings.set("max_steps", Some(60));
    settings.set("run.folder", Some(folder.join("run")));
    let settings = SftSettings::resolve(Layers::new([settings]), Some(demonstrations.len()))?;
    let data = SftData {
        catalog: catalog.clone(),
        demonstrations,
        validation: vec![],
    };
    let folder = Runner::sft(settings, data, &convrec::devices()?)?.run(&mut |_: &StepView| ())?;

    let model = Model::load(&folder, &convrec::device()?)?;
    let task = model.task(catalog.clone())?;
    let samples: Vec<Sample> = split
        .test
        .iter()
        .map(|e| task.sample(e))
        .collect::<Result<_, _>>()?;
    let found = evaluate(
        &model.policy,
        &task,
        &samples,
        &model.language.format.greedy(),
    );
    println!("Recall@10 = {:.3}", found.mean(Measure::Recall(10)));

    let conversation = [Turn::user("I loved Heat (1995). Something like it?")];
    let seen = Mentions::new(&catalog).in_turns(&conversation);
    for best in model
        .recommender(catalog)?
        .recommend(&conversation, &seen, 5)?
    {
        println!("{}. {}", best.rank, best.item);
    }
    Ok(())
}
