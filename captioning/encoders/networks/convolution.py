"""Convolution whose gradients are computed by what a processor is fast at."""

from functools import cache
from itertools import product
from pathlib import Path

import keras
from keras import layers, ops

LARGEST = 4  # side of the map up to which matrix products are the faster
BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}  # words of processors that compute with it


@keras.saving.register_keras_serializable(package="captioning")
class Conv2D(layers.Conv2D):
    """Keras' layer, faster to train under TensorFlow on a processor.

    oneDNN's gradients are made for large maps and for AVX-512. On the 2 x 2 maps of a ResNet's last
    stage the kernel's gradient ran at 58 GFLOP/s beside 330 of the forward pass; on a processor
    without AVX-512 that of the input ran at 2 beside 120, and either at 4 in bfloat16. Here

    - the kernel's gradient on small maps is one matrix product for each of its taps;
    - without AVX-512 the input's is a convolution with the turned kernel, where that computes
      nothing in vain or the map is small;
    - what is left to oneDNN is float32 where the processor has no bfloat16.

    They are the same sums, in another order. The forward pass is Keras' own, to the bit, and so is
    everything under other backends and on other devices. Strides are alike in both directions;
    there are no dilation and no groups, and channels come last.
    """

    def convolution_op(self, inputs, kernel):
        """The convolution without bias and activation."""
        if keras.backend.backend() != "tensorflow":
            return super().convolution_op(inputs, kernel)
        import tensorflow as tf

        if tf.config.list_logical_devices("GPU"):
            return super().convolution_op(inputs, kernel)
        padding, stride = self.padding.upper(), self.strides[0]
        turns = stride == 1 and padding == "SAME" and all(side % 2 for side in self.kernel_size)
        sides = inputs.shape[1:3]
        small = None not in sides and stride <= 2 and max(sides) // stride <= LARGEST
        small &= turns or padding == "VALID"

        @tf.custom_gradient
        def convolve(pixels, kernel):
            def gradients(upstream):
                low = upstream.dtype == tf.bfloat16 and BFLOAT16.isdisjoint(processor())
                dtype = tf.float32 if low else upstream.dtype
                onednn = {"strides": [1, stride, stride, 1], "padding": padding}
                onednn["out_backprop"] = tf.cast(upstream, dtype)
                if (turns or small) and "avx512f" not in processor():
                    by_pixels = input_gradient(upstream, kernel, sides, stride, padding)
                else:
                    by_pixels = tf.raw_ops.Conv2DBackpropInput(
                        input_sizes=tf.shape(pixels), filter=tf.cast(kernel, dtype), **onednn
                    )
                if small:
                    by_kernel = weight_gradient(pixels, upstream, kernel.shape, stride, padding)
                else:
                    by_kernel = tf.raw_ops.Conv2DBackpropFilter(
                        input=tf.cast(pixels, dtype), filter_sizes=tf.shape(kernel), **onednn
                    )
                return tf.cast(by_pixels, pixels.dtype), tf.cast(by_kernel, kernel.dtype)

            return tf.nn.conv2d(pixels, kernel, stride, padding), gradients

        # A tensor, not the variable: TensorFlow wants gradients of those given to it by itself.
        return convolve(inputs, tf.identity(ops.convert_to_tensor(kernel)))


def input_gradient(upstream, kernel, sides, stride: int, padding: str):
    """Gradient (B, H, W, C) of what a convolution takes, of the height and width `sides`.

    `upstream` (B, h, w, D) is the gradient of what came out, `kernel` is (k, k, C, D). `padding` is
    "SAME" with a stride of 1 and odd sides of the kernel, or "VALID".
    """
    import tensorflow as tf

    def turned(taps):
        return tf.transpose(tf.reverse(taps, [0, 1]), (0, 1, 3, 2))

    if padding == "SAME":
        return tf.nn.conv2d(upstream, turned(kernel), 1, "SAME")
    # Every stride-th pixel meets the same taps: a convolution each, put between one another.
    rows, columns = (-(-side // stride) for side in sides)
    phases = []
    for row, column in product(range(stride), repeat=2):
        taps = kernel[row::stride, column::stride]
        if 0 in taps.shape[:2]:  # these pixels meet none
            phases.append(tf.zeros_like(phases[0]))
            continue
        below, right = (count - 1 for count in taps.shape[:2])
        ends = rows - upstream.shape[1], columns - upstream.shape[2]
        around = [[0, 0], [below, ends[0]], [right, ends[1]], [0, 0]]
        phases.append(tf.nn.conv2d(tf.pad(upstream, around), turned(taps), 1, "VALID"))
    if stride == 1:
        return phases[0]
    pixels = tf.nn.depth_to_space(tf.concat(phases, -1), stride)
    return pixels[:, : sides[0], : sides[1]]


def weight_gradient(pixels, upstream, shape, stride: int, padding: str):
    """Gradient (k, k, C, D) of a convolution's kernel of that `shape`.

    `pixels` (B, H, W, C) are what came in, `upstream` (B, h, w, D) the gradient of what came out.
    With a stride above 1, `padding` must be "VALID".
    """
    height, width, channels, units = shape
    if stride > 1 and height > 1:
        import tensorflow as tf

        # Strided slices are slow; patches are one operation.
        window, steps = [1, height, width, 1], [1, stride, stride, 1]
        patches = tf.image.extract_patches(pixels, window, steps, [1, 1, 1, 1], "VALID")
        return ops.reshape(_product(patches, upstream), shape)
    taps = []
    before = ((height - 1) // 2, (width - 1) // 2) if padding == "SAME" else (0, 0)
    for row in range(height):
        y, outputs_y = _reach(row - before[0], pixels.shape[1], upstream.shape[1], stride)
        for column in range(width):
            x, outputs_x = _reach(column - before[1], pixels.shape[2], upstream.shape[2], stride)
            if y is None or x is None:  # a tap that only ever meets the padding
                taps.append(ops.zeros((channels, units), pixels.dtype))
            else:
                taps.append(_product(pixels[:, y, x], upstream[:, outputs_y, outputs_x]))
    return ops.reshape(ops.stack(taps), shape)


def _reach(offset: int, length: int, count: int, stride: int) -> tuple[slice | None, slice]:
    """The pixels that a tap at `offset` meets, or None, and the outputs for which it meets them."""
    first, end = max(0, -(offset // stride)), min(count, (length - 1 - offset) // stride + 1)
    met = slice(first * stride + offset, (end - 1) * stride + offset + 1, stride)
    return (met if first < end else None), slice(first, end)


def _product(pixels, upstream):
    """(.., C) and (.., D) to (C, D), summed over everything else."""
    import tensorflow as tf

    pixels = ops.reshape(pixels, (-1, pixels.shape[-1]))
    upstream = ops.reshape(upstream, (-1, upstream.shape[-1]))
    return tf.matmul(pixels, upstream, transpose_a=True)


@cache
def processor() -> frozenset[str]:
    """What it can do, in Linux' words; none where no Linux says so."""
    try:
        return frozenset(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return frozenset()
