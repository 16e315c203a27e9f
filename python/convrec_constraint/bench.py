"""How long a token takes: ``python bench.py films.trie``.

Random lists with ten seen items. A token is a push, the tokens that may follow, and a mask over a
vocabulary of 152,000 logits.
"""

from __future__ import annotations

import random
import sys
import time

import numpy as np

from convrec_constraint import Cursor, Trie

LISTS, SEEN, VOCABULARY = 50, 10, 152_000


def main() -> None:
    start = time.perf_counter()
    trie = Trie.open(sys.argv[1])
    print(f"{trie}: opened and checked in {1e3 * (time.perf_counter() - start):.1f} ms")
    rng = random.Random(7)
    logits = np.zeros(VOCABULARY, dtype=np.float32)
    begins, pushes, masks = [], [], []
    for _ in range(LISTS):
        seen = rng.sample(range(trie.n_items), SEEN)
        start = time.perf_counter()
        cursor = Cursor(trie, seen=seen)
        begins.append(time.perf_counter() - start)
        while not cursor.is_done:
            token = int(rng.choice(cursor.allowed()))
            start = time.perf_counter()
            cursor.push(token)
            pushed = time.perf_counter()
            cursor.mask(logits)
            masks.append(time.perf_counter() - pushed)
            pushes.append(pushed - start)
    for name, times in (("begin", begins), ("push", pushes), ("mask", masks)):
        micros = 1e6 * np.array(times)
        print(f"{name}: {np.median(micros):.1f} us median, {np.quantile(micros, 0.99):.1f} us p99")
    print(f"{len(pushes) / LISTS:.1f} tokens a list")


if __name__ == "__main__":
    main()
