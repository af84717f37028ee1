"""Convolution whose weight gradient on small maps is a matrix product."""

import keras
from keras import layers, ops

LARGEST = {1: 4, 2: 4}  # side of the map, by stride, up to which the products are the faster ones


@keras.saving.register_keras_serializable(package="captioning")
class Conv2D(layers.Conv2D):
    """Keras' layer, faster to train under TensorFlow where its maps are a few pixels wide.

    oneDNN's weight gradient is made for large maps: on the 2 x 2 maps of a ResNet's last stage it
    ran at 58 GFLOP/s beside 330 of the forward pass, and the whole training step at half of what
    it can. Here each of the kernel's taps is one matrix product of the pixels that it meets with
    the gradients that they led to. The result is the same sum, in another order. The forward pass
    is Keras' own, to the bit, and so is everything under other backends and on other devices.
    """

    def convolution_op(self, inputs, kernel):
        """The convolution without bias and activation."""
        if not self._by_products(inputs):
            return super().convolution_op(inputs, kernel)
        import tensorflow as tf

        padding, stride = self.padding.upper(), self.strides[0]

        @tf.custom_gradient
        def convolve(pixels, kernel):
            def gradients(upstream):
                by_pixels = tf.raw_ops.Conv2DBackpropInput(
                    input_sizes=tf.shape(pixels), filter=kernel, out_backprop=upstream,
                    strides=[1, stride, stride, 1], padding=padding,
                )  # fmt: skip
                return by_pixels, weight_gradient(pixels, upstream, kernel.shape, stride, padding)

            return tf.nn.conv2d(pixels, kernel, stride, padding), gradients

        # A tensor, not the variable: TensorFlow wants gradients of those given to it by itself.
        return convolve(inputs, tf.identity(ops.convert_to_tensor(kernel)))

    def _by_products(self, inputs) -> bool:
        side, stride = inputs.shape[1], self.strides[0]
        return (
            keras.backend.backend() == "tensorflow"
            and side is not None
            and inputs.shape[2] is not None
            and max(side, inputs.shape[2]) // stride <= LARGEST.get(stride, 0)
            and self.strides == (stride, stride)
            and self.dilation_rate == (1, 1)
            and self.groups == 1
            and self.data_format == "channels_last"
            and (stride == 1 or self.padding == "valid")
            and not _has_gpu()
        )


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
        top, low = _reach(row - before[0], pixels.shape[1], upstream.shape[1], stride)
        for column in range(width):
            left, right = _reach(column - before[1], pixels.shape[2], upstream.shape[2], stride)
            if top >= low or left >= right:  # a tap that only ever meets the padding
                taps.append(ops.zeros((channels, units), pixels.dtype))
                continue
            met = pixels[
                :,
                top * stride + row - before[0] : (low - 1) * stride + row - before[0] + 1 : stride,
                left * stride + column - before[1] :
                (right - 1) * stride + column - before[1] + 1 : stride,
            ]  # fmt: skip
            taps.append(_product(met, upstream[:, top:low, left:right]))
    return ops.reshape(ops.stack(taps), shape)


def _reach(offset: int, length: int, count: int, stride: int) -> tuple[int, int]:
    """The outputs, from and below, for which a tap at `offset` meets a pixel, not the padding."""
    return max(0, -(offset // stride)), min(count, (length - 1 - offset) // stride + 1)


def _product(pixels, upstream):
    """(.., C) and (.., D) to (C, D), summed over everything else."""
    import tensorflow as tf

    pixels = ops.reshape(pixels, (-1, pixels.shape[-1]))
    upstream = ops.reshape(upstream, (-1, upstream.shape[-1]))
    return tf.matmul(pixels, upstream, transpose_a=True)


def _has_gpu() -> bool:
    import tensorflow as tf

    return bool(tf.config.list_logical_devices("GPU"))
