"""Plain ratios of rapidfuzz on the names that `resolve_titles --export FOLDER` wrote.

    pip install rapidfuzz numpy
    python rapidfuzz_ratios.py FOLDER

The item of the highest ratio is taken where that reaches a threshold; of equal ones the one with the nearest year. The
threshold is the one with the most correct decisions in the training half. "+ year" leaves out items whose year is known,
as is the name's, and more than 2 off.
"""

import json
import pathlib
import sys

import numpy as np
from rapidfuzz import fuzz, process, utils

SCORERS = {"ratio": fuzz.ratio, "token_sort_ratio": fuzz.token_sort_ratio, "token_set_ratio": fuzz.token_set_ratio, "WRatio": fuzz.WRatio}


def guesses(data, scorer, with_year):
    """For each query: category, training, answer, guessed item, ratio."""
    titles = [utils.default_process(title) for title, _ in data["items"]]
    years = np.array([np.nan if year is None else year for _, year in data["items"]], dtype=float)
    for start in range(0, len(data["queries"]), 200):
        queries = data["queries"][start : start + 200]
        names = [utils.default_process(query["name"][0]) for query in queries]
        ratios = process.cdist(names, titles, scorer=scorer, workers=-1, dtype=np.float32)
        for query, ratio in zip(queries, ratios):
            year = query["name"][1]
            apart = np.abs(years - (np.nan if year is None else year))
            if with_year:
                ratio = np.where(apart > 2, 0, ratio)
            apart = np.where(np.isnan(apart), 3, apart)
            best = max(np.flatnonzero(ratio == ratio.max()), key=lambda n: -apart[n])
            yield query["category"], query["training"], query["answer"], int(best), float(ratio[best])


def correct(rows, threshold):
    return sum((guess == answer) if ratio >= threshold else answer is None for _, _, answer, guess, ratio in rows) / len(rows)


def line(name, rows, threshold):
    there = [row for row in rows if row[2] is not None]
    absent = [row for row in rows if row[2] is None]
    accepted = [row for row in rows if row[4] >= threshold]
    hits = sum(row[2] == row[3] for row in accepted)
    share = lambda part, whole: f"{part / whole:.3f}" if whole else "-"
    false = sum(row[4] >= threshold for row in absent)
    cells = [name, len(rows), share(hits, len(there)), share(hits, len(accepted)), share(len(rows) - len(accepted), len(rows)), share(false, len(absent))]
    print("| " + " | ".join(map(str, cells)) + " |")


sets = [json.loads(path.read_text()) for path in sorted(pathlib.Path(sys.argv[1]).glob("*.json"))]
for with_year in (False, True):
    for name, scorer in SCORERS.items():
        rows = [row for data in sets for row in guesses(data, scorer, with_year)]
        training, test = [row for row in rows if row[1]], [row for row in rows if not row[1]]
        threshold = max(np.arange(50, 100.5, 0.5), key=lambda threshold: correct(training, threshold))
        title = name + (" + year" if with_year else "")
        print(f"\n{title}, threshold {threshold}: correct decisions {correct(test, threshold):.4f} of the test half\n")
        print("| names | n | correct item | precision | abstained | false accepts |\n|---|---|---|---|---|---|")
        for category in sorted({(row[2] is None, row[0]) for row in test}):
            line(category[1], [row for row in test if (row[2] is None, row[0]) == category], threshold)
        line("all", test, threshold)
