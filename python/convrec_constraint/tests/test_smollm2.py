"""SmolLM2-135M-Instruct under the constraint, against the numbers of the Rust policy:

data=python/convrec_constraint/tests/data
cargo run --release -p convrec-train --example constrained_lists -- \\
    models/smollm2-135m-instruct $data/films.jsonl $data
"""

import numpy as np
import pytest
from models import films, rust_lists, smollm2

from convrec_constraint import Cursor, log_probs

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from convrec_constraint.transformers import CatalogLogitsProcessor  # noqa: E402


@pytest.fixture(scope="module")
def model():
    folder = smollm2()
    torch.set_num_threads(1)
    load = transformers.AutoModelForCausalLM.from_pretrained
    return load(folder, dtype=torch.float32, local_files_only=True).eval()


@pytest.fixture(scope="module")
def rust():
    return rust_lists()


@pytest.fixture(scope="module")
def trie():
    return films()


def test_log_probs_are_those_of_rust(model, rust, trie):
    choices = 0
    for found in rust["lists"]:
        cursor = Cursor(trie, seen=rust["seen"])
        tokens = found["tokens"]
        ids = torch.tensor([rust["prompt"] + tokens])
        with torch.no_grad():
            logits = model(ids).logits[0, len(rust["prompt"]) - 1 : -1].numpy()
        ours = log_probs(cursor, logits, tokens, found["temperature"])
        for name in ("log_probs", "trainer_log_probs"):
            assert np.abs(ours - found[name]).max() < 1e-4, name
        assert np.array_equal(ours == 0, np.array(found["log_probs"]) == 0)
        for token in tokens:
            cursor.push(token)
        assert cursor.is_done and cursor.items == found["items"]
        choices += int((ours < 0).sum())
    assert choices > 30


def test_generated_lists_are_valid_with_the_trainers_log_probs(model, rust, trie):
    seen, prompt = rust["seen"], rust["prompt"]
    torch.manual_seed(7)
    out = model.generate(
        torch.tensor([prompt]),
        logits_processor=[CatalogLogitsProcessor(Cursor(trie, seen=seen))],
        do_sample=True,
        top_k=0,
        top_p=1.0,
        temperature=1.0,
        num_return_sequences=4,
        max_new_tokens=trie.longest_list(),
        eos_token_id=trie.end,
        pad_token_id=trie.end,
        return_dict_in_generate=True,
        output_scores=True,
    )
    scores = model.compute_transition_scores(out.sequences, out.scores, normalize_logits=True)
    with torch.no_grad():
        logits = model(out.sequences).logits[:, len(prompt) - 1 : -1].numpy()
    lists = set()
    for row, sequence in enumerate(out.sequences[:, len(prompt) :].tolist()):
        tokens = sequence[: sequence.index(trie.end) + 1]
        cursor = Cursor(trie, seen=seen)
        again = log_probs(cursor, logits[row, : len(tokens)], tokens)
        assert np.abs(again - scores[row, : len(tokens)].numpy()).max() < 1e-4
        for token in tokens:
            cursor.push(token)
        assert cursor.is_done and len(set(cursor.items)) == trie.n
        assert not set(cursor.items) & set(seen)
        lists.add(tuple(cursor.items))
    assert len(lists) > 1
