//! Every step from the teacher's answer to a demonstration improves the lists of this world.

mod common;

use common::{Mean, in_catalog};
use convrec_catalog::Catalog;
use convrec_demonstrations::{LexicalEmbedder, Pipeline, PipelineConfig, Services};
use convrec_world::{World, WorldConfig, WorldJudge, WorldTeacher};

#[test]
fn remap_reflect_and_adjust_each_improve_on_the_teacher() {
    let split = World::embedded().generate(&WorldConfig {
        seed: 6,
        n_train: 1500,
        n_validation: 0,
        n_test: 1000,
    });
    let catalog = Catalog::new(World::embedded().catalog()).unwrap();
    let texts: Vec<String> = catalog.iter().map(|(_, item)| item.text()).collect();
    let teacher = WorldTeacher::new(1);
    let services = Services {
        teacher: &teacher,
        embedder: &LexicalEmbedder::fit(&texts, LexicalEmbedder::DEFAULT_WIDTH),
        judge: Some(&WorldJudge::new(split.tastes, 1)),
        describer: &teacher,
    };
    let pipeline = Pipeline::new(PipelineConfig::default(), &catalog, services).unwrap();
    // Adjust is fitted to some conversations and applied to others.
    let fit = pipeline
        .fit(&pipeline.score(&split.train, &|_| ()).unwrap(), &|_| ())
        .unwrap();
    let output = pipeline.finish(
        &pipeline.score(&split.test, &|_| ()).unwrap(),
        Some(&fit.adjust),
    );

    let steps = ["teacher", "remap", "reflect", "adjust"];
    let mut means = steps.map(|_| [Mean::at(10), Mean::at(20)]);
    for (example, steps) in split.test.iter().zip(&output.steps) {
        let raw = in_catalog(
            steps.teacher.iter().map(|named| named.item.clone()),
            example,
        );
        for (means, list) in
            means
                .iter_mut()
                .zip([&raw, &steps.remap, &steps.reflect, &steps.adjust])
        {
            means.iter_mut().for_each(|mean| mean.add(list, example));
        }
    }
    for (step, [ten, twenty]) in steps.iter().zip(&means) {
        eprintln!(
            "{step}: NDCG@10 {:.3} NDCG@20 {:.3} Recall@20 {:.3}",
            ten.ndcg(),
            twenty.ndcg(),
            twenty.recall()
        );
    }
    assert!(
        means
            .windows(2)
            .all(|pair| pair[1][1].ndcg() > pair[0][1].ndcg())
    );
    let demonstrations = means[3][0].ndcg();
    assert!(
        (0.25..0.40).contains(&demonstrations),
        "better than the teacher, with room above: {demonstrations:.3}"
    );
}
