"""Vision transformer ViT-S/16 (Dosovitskiy et al., arXiv 2010.11929; the small one of DeiT).

As DINO and timm have it: a class token, a learned position embedding, normalisation before
attention and before the perceptron, exact GELU.
"""

import keras
from keras import layers, ops

PATCH, WIDTH, DEPTH, HEADS = 16, 384, 12, 6
NATIVE = 14  # patches along a side that the position embedding is learned for: 224 pixels


def vit_small(x):
    """Normalised pixels (B, H, W, 3) to the class token (B, 384) and a grid (B, H/16, W/16, 384).

    Pixels beyond the last whole patch are not looked at.
    """
    patches = layers.Conv2D(WIDTH, PATCH, PATCH, name="patch_embed_proj")(x)
    x = Tokens(name="tokens")(patches)
    for number in range(DEPTH):
        name = f"block{number}"
        h = _norm(x, f"{name}_norm1")
        h = layers.Dense(3 * WIDTH, name=f"{name}_attn_qkv")(h)
        h = SelfAttention(HEADS, name=f"{name}_attn")(h)
        x = layers.add([x, layers.Dense(WIDTH, name=f"{name}_attn_proj")(h)])
        h = _norm(x, f"{name}_norm2")
        h = layers.Dense(4 * WIDTH, name=f"{name}_mlp_fc1")(h)
        h = layers.Activation(keras.activations.gelu, name=f"{name}_gelu")(h)
        x = layers.add([x, layers.Dense(WIDTH, name=f"{name}_mlp_fc2")(h)])
    x = _norm(x, "norm")
    return x[:, 0], Grid(name="patch_grid")([x, patches])


def _norm(x, name: str):
    return layers.LayerNormalization(epsilon=1e-6, name=name)(x)


@keras.saving.register_keras_serializable(package="captioning")
class Tokens(layers.Layer):
    """Patches (B, h, w, D) to tokens (B, 1 + h * w, D): class token first, positions added.

    The position embedding is learned for `NATIVE` patches a side, and resized (bicubic) for a
    picture with other than so many.
    """

    def build(self, shape) -> None:
        noise = keras.initializers.TruncatedNormal(stddev=0.02)
        width, length = shape[-1], 1 + NATIVE**2
        self.cls_token = self.add_weight((1, 1, width), noise, name="cls_token")
        self.pos_embed = self.add_weight((1, length, width), noise, name="pos_embed")

    def call(self, patches):
        count, height, width = ops.shape(patches)[:3]
        size = patches.shape[-1]
        position = ops.cast(self.pos_embed, self.compute_dtype)
        grid = ops.reshape(position[:, 1:], (1, NATIVE, NATIVE, size))
        # In a graph for pictures of any size, height and width are tensors.
        if not (isinstance(height, int) and height == width == NATIVE):
            grid = ops.image.resize(ops.cast(grid, "float32"), (height, width), "bicubic")
            grid = ops.cast(grid, self.compute_dtype)
        tokens = ops.reshape(patches + grid, (count, height * width, size))
        first = ops.cast(self.cls_token, self.compute_dtype) + position[:, :1]
        return ops.concatenate([ops.broadcast_to(first, (count, 1, size)), tokens], axis=1)


@keras.saving.register_keras_serializable(package="captioning")
class SelfAttention(layers.Layer):
    """Queries, keys and values side by side (B, T, 3 D) to what is attended to (B, T, D)."""

    def __init__(self, heads: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.heads = heads

    def call(self, qkv):
        count, length = ops.shape(qkv)[:2]
        width = qkv.shape[-1] // 3
        parts = ops.reshape(qkv, (count, length, 3, self.heads, width // self.heads))
        query, key, value = (parts[:, :, number] for number in range(3))
        attended = ops.dot_product_attention(query, key, value)
        return ops.reshape(attended, (count, length, width))

    def get_config(self) -> dict:
        return {**super().get_config(), "heads": self.heads}


@keras.saving.register_keras_serializable(package="captioning")
class Grid(layers.Layer):
    """Tokens (B, 1 + h * w, D) laid out as the patches (B, h, w, D) they came from."""

    def call(self, inputs):
        tokens, patches = inputs
        return ops.reshape(tokens[:, 1:], ops.shape(patches))

    def compute_output_shape(self, shapes):
        return shapes[1]  # JAX cannot tell it where height and width are open
