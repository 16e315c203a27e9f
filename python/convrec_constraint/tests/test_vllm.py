"""The logits processor for vLLM: requests come, go and move as its batch has them."""

import random
from types import SimpleNamespace

import pytest
from slow import SlowCursor, random_catalog

from convrec_constraint import NotAllowed, Options, OptionsError, Trie

torch = pytest.importorskip("torch")

from vllm.v1.sample.logits_processor import BatchUpdate, MoveDirectionality  # noqa: E402

from convrec_constraint.vllm import CatalogLogitsProcessor  # noqa: E402

VOCABULARY = 100


def params(**extra):
    return SimpleNamespace(extra_args=extra or None)


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


def processor():
    made = CatalogLogitsProcessor(None, torch.device("cpu"), False)
    assert made.is_argmax_invariant() is False
    return made


class Engine:
    """A batch as vLLM keeps it: rows are filled, freed, moved and swapped."""

    def __init__(self, catalog, rng):
        self.catalog, self.rng, self.processor = catalog, rng, processor()
        self.rows, self.finished = [], 0

    def request(self):
        """A request with its slow cursor; None where it is not constrained."""
        if self.rng.random() < 0.2:
            return params(), None, []
        seen = self.rng.sample(range(self.catalog.n_items), 3)
        only = self.rng.choice([None, list(range(20))])
        fields = Options(seen=tuple(seen), only=only and tuple(only), n=3).fields()
        return params(**fields), SlowCursor(self.catalog, seen, only, n=3), []

    def step(self):
        removed, added, moved = [], [], []
        done = [r for r, (_, slow, out) in enumerate(self.rows) if self.is_done(slow, out)]
        self.finished += len(done)
        while len(self.rows) < 6 or (done and self.rng.random() < 0.5):
            # New requests take the rows of those that are done, then rows at the end.
            row = done.pop(0) if done else len(self.rows)
            request = self.request()
            added.append((row, request[0], [1, 2], request[2]))
            if row == len(self.rows):
                self.rows.append(request)
            else:
                self.rows[row] = request
        for row in reversed(done):
            removed.append(row)
            last = len(self.rows) - 1
            if row != last:
                moved.append((last, row, MoveDirectionality.UNIDIRECTIONAL))
                self.rows[row] = self.rows[last]
            self.rows.pop()
        if len(self.rows) > 1 and self.rng.random() < 0.5:
            a, b = self.rng.sample(range(len(self.rows)), 2)
            moved.append((a, b, MoveDirectionality.SWAP))
            self.rows[a], self.rows[b] = self.rows[b], self.rows[a]
        changed = removed or added or moved
        update = BatchUpdate(len(self.rows), removed, added, moved) if changed else None
        self.processor.update_state(update)
        before = torch.randn(len(self.rows), VOCABULARY)
        logits = self.processor.apply(before.clone())
        for row, (_, slow, output) in enumerate(self.rows):
            kept = torch.isfinite(logits[row]).nonzero().flatten().tolist()
            if slow is None:
                assert torch.equal(logits[row], before[row])
            else:
                assert kept == slow.allowed()
                assert torch.equal(logits[row, kept], before[row, kept])
            token = self.rng.choice(kept)
            output.append(token)
            if slow is not None:
                slow.push(token)

    @staticmethod
    def is_done(slow, output):
        return len(output) > 9 if slow is None else slow.done


def test_rows_keep_their_constraint_as_the_batch_changes(catalog):
    engine = Engine(catalog, random.Random(3))
    for _ in range(150):
        engine.step()
    assert engine.finished > 30


def test_a_resumed_request_is_walked_again(catalog):
    trie_only = {"convrec_seen": []}
    slow, output = SlowCursor(catalog), []
    first = processor()
    first.update_state(BatchUpdate(1, [], [(0, params(**trie_only), [1], output)], []))
    for _ in range(4):
        first.apply(torch.zeros(1, VOCABULARY))
        output.append(slow.allowed()[-1])
        slow.push(output[-1])
    second = processor()
    second.update_state(BatchUpdate(1, [], [(0, params(**trie_only), [1], output)], []))
    for made in (first, second):
        kept = torch.isfinite(made.apply(torch.zeros(1, VOCABULARY))[0]).nonzero().flatten()
        assert kept.tolist() == slow.allowed()


def test_tokens_that_are_not_known_yet_are_named(catalog):
    made = processor()
    output = [-1]
    made.update_state(BatchUpdate(1, [], [(0, params(convrec_n=2), [1], output)], []))
    with pytest.raises(ValueError, match="--no-async-scheduling"):
        made.apply(torch.zeros(1, VOCABULARY))
    output[0] = 99
    with pytest.raises(NotAllowed, match="--disable-overlap-schedule"):
        made.apply(torch.zeros(1, VOCABULARY))


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"convrec_sen": []}, "unknown field `convrec_sen`; expected some of convrec_seen"),
        ({"convrec_seen": "Heat"}, "field `convrec_seen`: found 'Heat', expected a list of item"),
        ({"convrec_seen": [1.5]}, "field `convrec_seen`"),
        ({"convrec_seen": [1000]}, "seen: 1000 is no item"),
        ({"convrec_n": "3"}, "field `convrec_n`: found '3', expected a number"),
        ({"convrec_n": 0}, "n is 0"),
        ({"convrec_only": [1]}, "a list of 4 items cannot be made of 1"),
        ({"convrec_trie": "books"}, "field `convrec_trie`: found 'books', expected one of films"),
        ({"convrec_trie": 1}, "field `convrec_trie`: found 1, expected a trie's name"),
    ],
)
def test_bad_requests_are_refused(catalog, extra, message):
    with pytest.raises(OptionsError, match=message):
        CatalogLogitsProcessor.validate_params(params(**extra))


def test_requests_name_their_trie(catalog, monkeypatch, tmp_path):
    CatalogLogitsProcessor.validate_params(params())
    CatalogLogitsProcessor.validate_params(params(other=1))
    books = catalog.save(tmp_path / "books.trie")
    monkeypatch.setenv("CONVREC_TRIE", f"{tmp_path / 'films.trie'}:{books}")
    assert Options(trie="books").cursor().trie.n == Trie.open(books).n
    with pytest.raises(OptionsError, match="found None, expected one of films, books"):
        Options().cursor()
    monkeypatch.delenv("CONVREC_TRIE")
    with pytest.raises(OptionsError, match="set CONVREC_TRIE"):
        CatalogLogitsProcessor.validate_params(params(convrec_n=1))
    assert Options.of(Options(seen=(1,), only=(2, 3), n=1, trie="x").fields()) == Options(
        seen=(1,), only=(2, 3), n=1, trie="x"
    )
