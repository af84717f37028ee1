"""A tiny encoder and pictures, and gradients on either backend, for the tests of `contrastive`."""

import io
from pathlib import Path

import h5py
import keras
import numpy as np
from keras import layers
from PIL import Image


def tiny_encoder(seed: int = 0, width: int = 16) -> keras.Model:
    """Two convolutions with batch normalisation: pixels (B, H, W, 3) to `pooled` (B, width)."""
    keras.utils.set_random_seed(seed)
    pixels = keras.Input((None, None, 3))
    h = layers.Rescaling(1 / 64, -2)(pixels)
    for channels in (8, width):
        h = layers.Conv2D(channels, 3, 2, padding="same", use_bias=False)(h)
        h = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(h))
    return keras.Model(pixels, {"pooled": layers.GlobalAveragePooling2D()(h)}, name="tiny")


def patterns(count: int, size: int = 24, seed: int = 0) -> np.ndarray:
    """Smooth random pictures (count, size, size, 3), uint8, each unlike the others."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 4, 4, 3), np.uint8)
    bilinear = Image.Resampling.BILINEAR
    return np.stack([np.asarray(Image.fromarray(c).resize((size, size), bilinear)) for c in coarse])


def encoded(pixels: np.ndarray, kind: str = "png") -> bytes:
    """A picture as a file's bytes."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def write_images(folder: Path, count: int = 20, size: int = 40, seed: int = 0) -> Path:
    """A folder of `count` PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, pixels in enumerate(patterns(count, size, seed)):
        (folder / f"{number:03d}.png").write_bytes(encoded(pixels))
    return folder


def value_and_gradients(function, *arrays: np.ndarray) -> tuple[float, list[np.ndarray]]:
    """A scalar function of tensors, in float32, and its gradient by each, on either backend."""
    tensors = [keras.ops.convert_to_tensor(array, "float32") for array in arrays]
    if keras.backend.backend() == "jax":
        import jax

        positions = tuple(range(len(tensors)))
        value, gradients = jax.value_and_grad(function, argnums=positions)(*tensors)
    else:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(tensors)
            value = function(*tensors)
        gradients = tape.gradient(value, tensors)
    return float(value), [keras.ops.convert_to_numpy(one) for one in gradients]


def arrays_in(path: Path) -> list[np.ndarray]:
    """All data of an HDF5 file."""
    arrays: list[np.ndarray] = []
    with h5py.File(path) as file:
        file.visititems(lambda _, item: arrays.append(item[()]) if hasattr(item, "shape") else None)
    return arrays


def weights_of(network: keras.Model) -> list[np.ndarray]:
    """Copies of all weights."""
    return [np.array(keras.ops.convert_to_numpy(one.value)) for one in network.weights]
