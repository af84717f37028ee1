import math
from collections import Counter

import pytest

from captioning.evaluation.bleu import bleu, constant_caption, tokenize


def naive_bleu(references, hypotheses, weights) -> float:
    """Corpus BLEU as Papineni et al. write it: clipped precisions, closest reference length."""
    logs, length, reference_length = [], 0, 0
    for n, weight in enumerate(weights, start=1):
        hits = total = 0
        for one, words in hypotheses.items():
            grams = Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
            total += sum(grams.values())
            for gram, count in grams.items():
                most = max(
                    sum(tuple(r[i : i + n]) == gram for i in range(len(r) - n + 1))
                    for r in references[one]
                )
                hits += min(count, most)
        logs.append(weight * math.log(hits / total))
    for one, words in hypotheses.items():
        length += len(words)
        reference_length += min((abs(len(r) - len(words)), len(r)) for r in references[one])[1]
    brevity = min(0.0, 1 - reference_length / length)
    return math.exp(brevity + sum(logs))


WEIGHTS = {
    "original": [(1,), (0.5, 0.5), (0.3, 0.3, 0.3), (0.25,) * 4],
    "coco": [(1,), (1 / 2,) * 2, (1 / 3,) * 3, (1 / 4,) * 4],
}


@pytest.mark.parametrize(("protocol", "weights"), WEIGHTS.items())
def test_bleu_equals_its_definition(protocol, weights):
    references = {
        "1": ["a brown dog runs over the grass".split(), "the dog runs fast on grass".split()],
        "2": ["two men sit on a bench in the park".split(), "men on a bench".split()],
    }
    hypotheses = {"1": "a dog runs over the grass".split(), "2": "two men sit on a bench".split()}
    expected = [naive_bleu(references, hypotheses, one) for one in weights]
    assert bleu(references, hypotheses, protocol) == pytest.approx(expected, abs=1e-12)


def test_bleu_of_nothing_in_common_is_zero():
    assert bleu({"1": [["a"]]}, {"1": ["b"]}, "coco") == [0, 0, 0, 0]


def test_protocols_see_a_caption_as_their_own_words():
    caption = "A man's dog , running ."
    assert tokenize(caption, "original") == ["startseq", "mans", "dog", "running", "endseq"]
    assert tokenize(caption, "coco") == ["a", "man", "'s", "dog", "running"]


def test_constant_caption_is_the_most_typical_one():
    references = {
        "1": [["a", "dog", "runs"], ["two", "cats", "sleep"]],
        "2": [["a", "dog", "sits"], ["one", "bird", "flies"]],
        "3": [["a", "dog", "runs"]],
    }
    assert constant_caption(references) == ["a", "dog", "runs"]
