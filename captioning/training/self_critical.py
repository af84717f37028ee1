"""Self-critical training: drawing captions, their rewards, and a pass over the images.

Teacher forcing never shows a decoder its own mistakes, and does not ask for what it is scored by.
Here it draws captions of the training images, each is scored against the images' own captions, and
those that are better than the others of their image become more probable: REINFORCE (Rennie et al.,
arXiv 1612.00563) with the mean of an image's other samples as the baseline (Luo, arXiv 2003.09971).
"""

from collections.abc import Mapping, Sequence

import keras
import numpy as np
from keras import ops, random

from captioning.decoders.search import generate
from captioning.evaluation.cider import CiderD
from captioning.text import END
from captioning.training.run import Run

COLUMNS = ("epoch", "reward", "val_cider", "seconds")


def draw(model, features: np.ndarray, samples: int, seed) -> np.ndarray:
    """Captions drawn from the model, word by word: tokens (N * samples, T), 0 after the end word.

    The captions of an image are neighbours. `seed` is a `keras.random.SeedGenerator`.
    """
    vocabulary = model.vocabulary
    never = np.zeros(model.outputs, np.float32)
    never[[0, vocabulary.start]] = -1e9
    context, state = model.start(ops.convert_to_tensor(features))
    state = [ops.repeat(part, samples, axis=0) for part in state]
    words = np.full(len(features) * samples, vocabulary.start, np.int32)
    open_ends, tokens = np.ones(len(words), bool), []
    for _ in range(vocabulary.max_length - 1):
        logits, state = model.step(ops.convert_to_tensor(words), context, state)
        drawn = random.categorical(ops.cast(logits, "float32") + never, 1, seed=seed)
        words = ops.convert_to_numpy(drawn)[:, 0].astype(np.int32)
        tokens.append(np.where(open_ends, words, 0))
        open_ends &= words != vocabulary.end
        if not open_ends.any():
            break
    return np.stack(tokens, axis=1)


def advantages(rewards: np.ndarray) -> np.ndarray:
    """Each reward (N, samples) less the mean of the image's other rewards."""
    count = rewards.shape[1]
    others = (rewards.sum(axis=1, keepdims=True) - rewards) / (count - 1)
    return rewards - others


def words_of(model, tokens: np.ndarray) -> list[str]:
    """A caption's words as they are scored: with the end word if it was drawn.

    So a sentence that was cut off at the greatest length loses, and no end is rewarded that the
    model did not say.
    """
    ended = model.vocabulary.end in tokens
    return [*model.vocabulary.decode(tokens).split(), *([END] if ended else [])]


def scorer(descriptions: Mapping[str, Sequence[str]], ids: Sequence[str]) -> CiderD:
    """CIDEr-D against the descriptions of these images."""
    return CiderD(
        {image_id: [[*text.split(), END] for text in descriptions[image_id]] for image_id in ids}
    )


def train_epoch(
    run: Run,
    features,
    ids: Sequence[str],
    reward: CiderD,
    epoch: int,
    *,
    samples: int,
    batch_size: int,
    seed: int,
) -> None:
    """One pass over `ids`, a row of the run, whose `reward` is the mean of all that was drawn."""
    model, total = run.model, 0.0
    order = np.random.default_rng((seed, epoch)).permutation(len(ids))
    generator = keras.random.SeedGenerator((seed * 1000 + epoch) % 2**32)  # JAX takes 32 bits
    batches = [order[first : first + batch_size] for first in range(0, len(order), batch_size)]
    with run.row(f"epoch {epoch + 1}", len(batches), len(ids)):
        for number, batch in enumerate(batches, start=1):
            chosen = [ids[one] for one in batch]
            grids = features.of(chosen)[:]
            drawn = draw(model, grids, samples, generator)
            rewards = [
                reward.score(chosen[row // samples], words_of(model, tokens))
                for row, tokens in enumerate(drawn)
            ]
            rewards = np.array(rewards).reshape(-1, samples)
            # A new length is a new graph to compile, so there are few of them.
            drawn = np.pad(drawn, ((0, 0), (0, -drawn.shape[1] % 4)))
            before = np.pad(drawn[:, :-1], ((0, 0), (1, 0)), constant_values=model.vocabulary.start)
            weights = np.broadcast_to(advantages(rewards).reshape(-1, 1), drawn.shape)
            inputs = {"features": np.repeat(grids, samples, axis=0), "tokens": before}
            model.train_on_batch(inputs, drawn, sample_weight=weights.astype(np.float32))
            total += float(rewards.mean())
            run.after_step(number, {"reward": total / number}, len(batch))


def validate(model, features, ids: Sequence[str], reward: CiderD) -> float:
    """Mean CIDEr-D of greedy captions."""
    found = generate(model, features.of(ids))
    pairs = zip(ids, found, strict=True)
    return float(
        np.mean([reward.score(image_id, [*got.caption.split(), END]) for image_id, got in pairs])
    )
