"""Several trained decoders as one, which says what they think likely together.

Trained from other seeds, decoders make other mistakes, and the mean of their probabilities makes
fewer. `tools/export_model.py` makes a file of one, which is used as any other model is.
"""

from typing import Any

import keras
from keras import ops

from captioning.decoders.base import Decoder
from captioning.decoders.table import DECODERS, decoder_class


@keras.saving.register_keras_serializable(package="captioning")
class Ensemble(Decoder):
    """Decoders of one vocabulary and one encoder; the next word is by their mean probability.

    Args:
        carried: the arguments of `Decoder`, which all members share.
        members: of each, its class (`kind`) and its arguments beyond those that all share.
    """

    def __init__(self, *carried, members: list[dict[str, Any]], **kwargs) -> None:
        super().__init__(*carried, **kwargs)
        config = Decoder.get_config(self)
        shared = {name: config[name] for name in _SHARED}
        self.settings = [dict(member) for member in members]
        kinds = {kind.__name__: kind for kind in map(decoder_class, DECODERS)}

        def member(kind: str, **own) -> Decoder:
            return kinds[kind].from_config({**shared, **own})

        self.members = [member(**settings) for settings in members]
        self.positions = self.members[0].positions
        self.built = True

    def call(self, inputs: dict[str, Any], training: bool = False):
        """Log-probabilities (B, T, V) after each of the `tokens`, as a tuple of one."""
        return (_log_mean([member.next_words(inputs, training) for member in self.members]),)

    def logits(self, hidden):
        """What `call` gives is complete."""
        return hidden

    def attention(self, inputs: dict[str, Any]):
        """The members' mean weights (B, T, L) of the grid's vectors before every next word."""
        return sum(member.attention(inputs) for member in self.members) / len(self.members)

    def start(self, features):
        """Context and state: a list of each member's."""
        context, state = zip(*(member.start(features) for member in self.members), strict=True)
        return list(context), list(state)

    def step(self, tokens, context, state):
        """Log-probabilities (R, V) of the word after `tokens` (R,), and the new state."""
        steps = [
            member.step(tokens, *parts)
            for member, *parts in zip(self.members, context, state, strict=True)
        ]
        return _log_mean([logits for logits, _ in steps]), [state for _, state in steps]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments: enough to build the same model again."""
        return {**super().get_config(), "members": [dict(member) for member in self.settings]}

    def first_member(self) -> Decoder:
        """A copy of the first member, with the expected words of all."""
        copy = self.members[0].copy_with(expected_sizes=self.expected_sizes)
        if copy.expected_words:
            copy.expected_words.set_weights(self.expected_words.get_weights())
        return copy


_SHARED = ("feature_size", "words", "max_length", "text_rules", "encoder")
_NOT_KEPT = (*_SHARED, "name", "trainable", "dtype", "expected_sizes")


def _log_mean(several: list):
    """Logarithm of the mean of the probabilities that these logits stand for."""
    probabilities = [ops.softmax(ops.cast(logits, "float32")) for logits in several]
    return ops.log(sum(probabilities) / len(probabilities) + 1e-30)


def join(models: list[Decoder]) -> Ensemble:
    """An ensemble of decoders that have the same vocabulary, encoder and features.

    Its expected words are those of the first that has any.
    """
    settings = []
    for model in models:
        own = {k: v for k, v in model.get_config().items() if k not in _NOT_KEPT}
        settings.append({"kind": type(model).__name__, **own})
    first = next((model for model in models if model.expected_words), models[0])
    config = first.get_config()
    shared = {name: config[name] for name in (*_SHARED, "expected_sizes")}
    ensemble = Ensemble(**shared, members=settings)
    if first.expected_words:
        ensemble.expected_words.set_weights(first.expected_words.get_weights())
    for member, model in zip(ensemble.members, models, strict=True):
        member.set_weights(model.copy_with(expected_sizes=None).get_weights())
    return ensemble
