//! Every step from the teacher's answer to a demonstration has something to do here.

mod common;

use common::{Mean, in_catalog};
use convrec_catalog::Catalog;
use convrec_cloning::{LexicalEmbedder, Pipeline, PipelineConfig, Services};
use convrec_world::{World, WorldConfig, WorldJudge, WorldTeacher};

#[test]
fn remap_reflect_and_adjust_each_improve_on_the_teacher() {
    let split = World::embedded().generate(&WorldConfig { seed: 6, n_train: 1000, n_validation: 0, n_test: 1000 });
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
    let fit = pipeline.fit(&pipeline.score(&split.train, &|_| ()).unwrap()).unwrap();
    let cloned = pipeline.finish(&pipeline.score(&split.test, &|_| ()).unwrap(), Some(&fit.adjust));

    let mut means: [Mean; 4] = Default::default();
    for (example, steps) in split.test.iter().zip(&cloned.steps) {
        let raw = in_catalog(steps.teacher.iter().map(|named| named.item.clone()), example);
        for (mean, list) in means.iter_mut().zip([&raw, &steps.remap, &steps.reflect, &steps.adjust]) {
            mean.add(list, example);
        }
    }
    for (step, mean) in ["teacher", "remap", "reflect", "adjust"].iter().zip(&means) {
        eprintln!("{step}: NDCG@10 {:.3} Recall@10 {:.3}", mean.ndcg(), mean.recall());
    }
    for pair in means.windows(2) {
        assert!(pair[1].ndcg() > pair[0].ndcg());
    }
    let demonstrations = means[3].ndcg();
    assert!((0.30..0.50).contains(&demonstrations), "better than the teacher, but with room: {demonstrations:.3}");
}
