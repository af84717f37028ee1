"""AdamW as everything here is trained with it."""

import keras


@keras.saving.register_keras_serializable(package="captioning")
class AdamW(keras.optimizers.AdamW):
    """AdamW (Loshchilov and Hutter, arXiv 1711.05101), of which only matrices are decayed.

    Biases and the scales of normalisation are not: they are few, cannot overfit, and would be drawn
    away from what they stand for. A class of its own, because Keras forgets what it was told not
    to decay when it loads an optimizer.
    """

    def build(self, variables) -> None:
        """Set up the moments of `variables`, and which are not decayed."""
        if not self.built:  # by shape, because Keras looks for a name in the layer's, too
            vectors = [variable for variable in variables if len(variable.shape) < 2]
            self.exclude_from_weight_decay(var_list=vectors)
        super().build(variables)
