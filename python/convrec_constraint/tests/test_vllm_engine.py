"""vLLM itself with SmolLM2-135M-Instruct; where it is not installed, these tests are skipped."""

import numpy as np
import pytest
from models import DATA, films, rust_lists, smollm2

from convrec_constraint import Cursor, Options, log_probs

interface = pytest.importorskip("vllm.v1.sample.logits_processor")
if getattr(interface, "STUB", False):
    pytest.skip("vLLM is not installed", allow_module_level=True)

import torch  # noqa: E402
import transformers  # noqa: E402
from vllm import LLM, SamplingParams  # noqa: E402

from convrec_constraint.vllm import CatalogLogitsProcessor  # noqa: E402


@pytest.fixture(scope="module")
def engine():
    folder = smollm2()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONVREC_TRIE", str(DATA / "films.trie"))
        yield LLM(
            str(folder),
            dtype="float32",
            max_model_len=512,
            max_num_seqs=4,
            enforce_eager=True,
            logits_processors=[CatalogLogitsProcessor],
            logprobs_mode="processed_logprobs",
        )


def sampling(trie, extra, **how):
    return SamplingParams(
        temperature=1.0,
        logprobs=0,
        seed=7,
        max_tokens=trie.longest_list(),
        stop_token_ids=[trie.end],
        extra_args=extra,
        **how,
    )


def test_lists_are_valid_with_the_trainers_log_probs(engine):
    trie, prompt = films(), rust_lists()["prompt"]
    asked = [{"seen": (0, 7)}, {"only": tuple(range(10, 30)), "n": 3}, {"seen": (5,), "n": 1}, None]
    params = [sampling(trie, one and Options(**one).fields(), n=2) for one in asked]
    outputs = engine.generate([{"prompt_token_ids": prompt}] * len(asked), params)
    load = transformers.AutoModelForCausalLM.from_pretrained
    model = load(smollm2(), dtype=torch.float32, local_files_only=True).eval()
    worst = 0.0
    for one, output in zip(asked, outputs, strict=True):
        assert len(output.outputs) == 2
        for written in output.outputs:
            tokens = list(written.token_ids)
            if one is None:
                continue
            cursor = Cursor(trie, **one)
            with torch.no_grad():
                logits = model(torch.tensor([prompt + tokens])).logits
            ours = log_probs(cursor, logits[0, len(prompt) - 1 : -1].numpy(), tokens)
            theirs = [at[token].logprob for at, token in zip(written.logprobs, tokens, strict=True)]
            worst = max(worst, float(np.abs(ours - theirs).max()))
            for token in tokens:
                cursor.push(token)
            assert cursor.is_done and len(set(cursor.items)) == one.get("n", trie.n)
            assert not set(cursor.items) & set(one.get("seen", ()))
            assert set(cursor.items) <= set(one.get("only", range(trie.n_items)))
    print(f"largest difference {worst:.2e}")
    assert worst < 1e-4


def test_more_requests_than_rows(engine):
    """Requests wait, take the rows of others, and keep their own constraint."""
    trie, prompt = films(), rust_lists()["prompt"]
    asked = [{"seen": (k, k + 1), "n": 1 + k % 3} for k in range(9)]
    params = [sampling(trie, Options(**one).fields()) for one in asked]
    prompts = [{"prompt_token_ids": prompt[100 + k :]} for k in range(9)]
    outputs = engine.generate(prompts, params)
    for one, output in zip(asked, outputs, strict=True):
        cursor = Cursor(trie, **one)
        for token in output.outputs[0].token_ids:
            cursor.push(token)
        assert cursor.is_done and len(cursor.items) == one["n"]


def test_a_bad_request_is_refused_and_the_engine_goes_on(engine):
    trie, prompt = films(), [{"prompt_token_ids": rust_lists()["prompt"]}]
    # Of vLLM's own class, which is no ValueError in every release.
    with pytest.raises(Exception, match="seen: 56 is no item; expected ids from 0 to 55"):
        engine.generate(prompt, sampling(trie, {"convrec_seen": [56]}))
    output = engine.generate(prompt, sampling(trie, {"convrec_n": 1}))[0].outputs[0]
    assert output.token_ids[-1] == trie.end
