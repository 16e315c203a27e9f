"""The logits processor for SGLang: requests carry their parameters and tokens with them."""

import random
from types import SimpleNamespace

import pytest
from slow import SlowCursor, random_catalog

from convrec_constraint import Options, OptionsError

torch = pytest.importorskip("torch")

import sglang.srt.sampling.custom_logit_processor as interface  # noqa: E402

from convrec_constraint.sglang import CatalogLogitProcessor  # noqa: E402

VOCABULARY = 100


@pytest.fixture
def catalog(tmp_path, monkeypatch):
    rng = random.Random(7)
    while True:
        catalog = random_catalog(rng)
        if catalog.n_items > 25 and catalog.n == 4 and len(catalog.ranks) == 1:
            catalog.twins = []
            break
    monkeypatch.setenv("CONVREC_TRIE", str(catalog.save(tmp_path / "films.trie")))
    return catalog


def request(fields):
    """The parameters of a request as SGLang hands them on."""
    return {**fields, "__req__": SimpleNamespace(output_ids=[])}


def test_requests_keep_their_constraint(catalog):
    rng = random.Random(5)
    asked = [{"seen": (1, 2)}, {"only": tuple(range(12))}, {"n": 2}, {}]
    running = [(request(Options(**one).fields()), SlowCursor(catalog, **one)) for one in asked]
    running += [(request({}), None), (None, None)]
    finished = 0
    while any(slow is not None for _, slow in running):
        # SGLang makes a new processor for a batch, and the batch changes.
        rng.shuffle(running)
        before = torch.randn(len(running), VOCABULARY)
        logits = CatalogLogitProcessor()(before.clone(), [params for params, _ in running])
        for row, (params, slow) in enumerate(running):
            if slow is None:
                assert torch.equal(logits[row], before[row])
                continue
            kept = torch.isfinite(logits[row]).nonzero().flatten().tolist()
            assert kept == slow.allowed()
            params["__req__"].output_ids.append(rng.choice(kept))
            slow.push(params["__req__"].output_ids[-1])
        done = [one for one in running if one[1] is not None and one[1].done]
        finished += len(done)
        running = [one for one in running if not any(one is other for other in done)]
    assert finished == len(asked)


def test_misuse_is_named(catalog):
    with pytest.raises(OptionsError, match="seen: 1000 is no item"):
        CatalogLogitProcessor()(torch.zeros(1, VOCABULARY), [request({"convrec_seen": [1000]})])
    twice = request({"convrec_n": 1})
    with pytest.raises(ValueError, match="without speculation"):
        CatalogLogitProcessor()(torch.zeros(2, VOCABULARY), [twice, twice])
    with pytest.raises(ValueError, match="`__req__` is missing"):
        CatalogLogitProcessor()(torch.zeros(1, VOCABULARY), [{"convrec_n": 1}])
    logits = torch.zeros(1, VOCABULARY)
    assert CatalogLogitProcessor()(logits) is logits


def test_the_class_travels_by_name(catalog):
    """SGLang gets the class as text, and makes processors of it."""
    if getattr(interface, "STUB", False):
        pytest.skip("SGLang is not installed")
    text = CatalogLogitProcessor.to_str()
    assert len(text) < 500
    assert type(interface.CustomLogitProcessor.from_str(text)) is CatalogLogitProcessor
