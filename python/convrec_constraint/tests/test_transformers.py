"""``generate`` of transformers under the constraint."""

import random

import pytest
from slow import SlowCursor, random_catalog

from convrec_constraint import Cursor, Trie

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from convrec_constraint.transformers import CatalogLogitsProcessor  # noqa: E402

VOCABULARY, END, PAD = 100, 90, 91


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(7)
    torch.set_num_threads(1)
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=256,
        initializer_range=1.0,
    )
    return transformers.LlamaForCausalLM(config).eval()


@pytest.fixture(scope="module")
def catalog():
    rng = random.Random(7)
    while True:
        catalog = random_catalog(rng)
        if catalog.n_items > 25 and catalog.n == 4 and len(catalog.ranks) == 1:
            catalog.twins = []
            return catalog


@pytest.fixture
def trie(catalog, tmp_path):
    return Trie.open(catalog.save(tmp_path / "random.trie"))


def generate(model, cursors, prompts, **how):
    width = max(map(len, prompts))
    ids = torch.tensor([[PAD] * (width - len(p)) + p for p in prompts])
    settings = {"do_sample": True, "top_k": 0, "temperature": 1.0, **how}
    out = model.generate(
        ids,
        attention_mask=(ids != PAD).long(),
        logits_processor=[CatalogLogitsProcessor(cursors)],
        max_new_tokens=60,
        eos_token_id=END,
        pad_token_id=PAD,
        **settings,
    )
    return [[t for t in row if t != PAD] for row in out[:, width:].tolist()]


def check(catalog, written, **asked):
    slow = SlowCursor(catalog, **asked)
    for token in written:
        assert token in slow.allowed()
        slow.push(token)
    assert slow.done and len(slow.items) == slow.n and not set(slow.items) & set(asked["seen"])


@pytest.mark.parametrize(
    "how",
    [
        {"num_return_sequences": 6},
        {"num_return_sequences": 3, "temperature": 0.6, "top_k": 3, "top_p": 0.9},
        {"do_sample": False},
        {"do_sample": False, "num_beams": 4, "num_return_sequences": 4},
        {"num_beams": 3},
    ],
    ids=str,
)
def test_each_row_has_its_own_constraint(model, catalog, trie, how):
    asked = [{"seen": [0, 3]}, {"seen": [], "only": range(5, 15)}, {"seen": [8], "n": 2}]
    cursors = [Cursor(trie, **one) for one in asked]
    for one in asked:
        one.setdefault("n", trie.n)
    rows = generate(model, cursors, [[1, 2, 3], [4], [5, 6]], **how)
    count = how.get("num_return_sequences", 1)
    assert len(rows) == 3 * count
    for row, written in enumerate(rows):
        check(catalog, written, **asked[row // count])


def test_log_probs_are_those_of_the_processed_scores(model, trie):
    """What `compute_transition_scores` says is our `log_probs` of the raw logits."""
    from convrec_constraint import log_probs

    cursor = Cursor(trie)
    ids = torch.tensor([[1, 2, 3]])
    out = model.generate(
        ids,
        logits_processor=[CatalogLogitsProcessor(cursor)],
        max_new_tokens=60,
        do_sample=True,
        top_k=0,
        temperature=0.7,
        eos_token_id=END,
        pad_token_id=PAD,
        return_dict_in_generate=True,
        output_scores=True,
        output_logits=True,
    )
    scores = model.compute_transition_scores(out.sequences, out.scores, normalize_logits=True)
    logits = torch.cat(out.logits).numpy()
    written = out.sequences[0, 3:].tolist()
    ours = log_probs(cursor, logits, written, temperature=0.7)
    assert abs(scores[0].numpy() - ours).max() < 1e-5
    assert (ours < -0.1).sum() > 3


def test_misuse_is_named(model, trie):
    processor = CatalogLogitsProcessor([Cursor(trie), Cursor(trie)])
    ids, scores = torch.zeros(2, 3, dtype=torch.long), torch.zeros(2, VOCABULARY)
    with pytest.raises(ValueError, match="3 rows for 2 cursors"):
        processor(torch.zeros(3, 3), torch.zeros(3, VOCABULARY))
    processor = CatalogLogitsProcessor(Cursor(trie))
    processor(ids, scores)
    with pytest.raises(ValueError, match="Make a new processor for each call"):
        processor(ids, scores)
    with pytest.raises(ValueError, match="1 logits have none for token"):
        CatalogLogitsProcessor(Cursor(trie))(ids, scores[:, :1])
    with pytest.raises(ValueError, match="no cursor"):
        CatalogLogitsProcessor([])
