#!/usr/bin/env python3
"""A SimCLR step beside the bare forward and backward pass of its encoder, and beside PyTorch's.

    python benchmarks/pretext.py --dtype bfloat16

Ours includes the batch from memory, both augmentations, head, loss and optimizer. The bare pass
has two views ready as float32 pixels. The PyTorch step, if torch is installed, is what a plain
script does: the same augmentation (SimCLR's for small pictures: crop, flip, jitter with hue, grey,
blur) written batch by batch in torch operations, a ResNet-18 in channels-last memory, autocast,
NT-Xent, AdamW. Its crops are bilinear without antialiasing and keep the aspect, which is cheaper
than ours. All take turns, so that a busy machine slows all
alike, and the best of the rounds counts.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from captioning.arguments import positive_int, shared
from captioning.cli import ArgumentParser, import_keras, run


def parse_arguments():
    parser = ArgumentParser(__doc__.split("\n")[0])
    add = parser.add_argument
    add("--image-size", type=positive_int, default=64, help="side of the views")
    add("--batch-size", type=positive_int, default=256, help="pictures, each with two views")
    shared(parser, "--dtype")
    add("--rounds", type=positive_int, default=5, help="of which the best counts")
    return parser.parse_args()


def ours(args, pictures: np.ndarray) -> Callable[[], None]:
    """A whole step of ours."""
    from captioning.encoders.table import build_network
    from contrastive.data import batches
    from contrastive.presets import build_method, settings_for, views_for

    run = {"method": "simclr", "optimizer": "adamw", "batch_size": args.batch_size}
    settings = settings_for(run, batch_size=args.batch_size, images=len(pictures), epochs=100)
    encoder = build_network("resnet18", dtype=args.dtype)
    views = views_for("simclr", args.image_size, strength=0.5)
    model = build_method({**settings, **run, "steps": 100, "seed": 0}, encoder, views)
    stream = batches(pictures, args.batch_size, seed=0)
    return lambda: model.train_on_batch(next(stream)[0])


def bare(args) -> Callable[[], None]:
    """Forward and backward pass of the same encoder on both views at once, compiled alike."""
    import keras

    from captioning.encoders.table import build_network

    encoder = build_network("resnet18", dtype=args.dtype)
    shape = (2 * args.batch_size, args.image_size, args.image_size, 3)
    views = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
    if keras.backend.backend() == "jax":
        import jax

        state = [v.value for v in encoder.non_trainable_variables]

        def loss(weights, views):
            out, _ = encoder.stateless_call(weights, state, views, training=True)
            return (out["pooled"] ** 2).mean()

        step = jax.jit(jax.grad(loss))
        weights = [v.value for v in encoder.trainable_variables]
        views = jax.device_put(views)
        return lambda: jax.block_until_ready(step(weights, views))

    import tensorflow as tf

    views = tf.constant(views)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(encoder(views, training=True)["pooled"]))
        return tape.gradient(loss, encoder.trainable_weights)

    return step


def pytorch(args, pictures: np.ndarray) -> Callable[[], None]:
    """A whole step of plain PyTorch."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    from tests.torch_networks import ResNet

    torch.manual_seed(0)
    head = nn.Sequential(
        nn.Linear(512, 512, bias=False),
        nn.BatchNorm1d(512),
        nn.ReLU(),
        nn.Linear(512, 128, bias=False),
        nn.BatchNorm1d(128),
    )
    network = nn.Sequential(ResNet(), head).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    count, size = args.batch_size, args.image_size
    random = np.random.default_rng(0)
    mean = torch.tensor([123.675, 116.28, 103.53]).view(1, 3, 1, 1)
    deviation = torch.tensor([58.395, 57.12, 57.375]).view(1, 3, 1, 1)
    luma = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)

    yiq = torch.tensor([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
    place = torch.arange(size, dtype=torch.float32)
    distance = (place[:, None] - place[None]) ** 2

    def blurred(x):
        """Gaussian blur of half the pictures, by a matrix along each axis."""
        deviation = torch.empty(count, 1, 1).uniform_(0.1, 2.0) * size / 224
        deviation = torch.where(torch.rand(count, 1, 1) < 0.5, deviation, 0.05).clamp(min=0.05)
        weights = torch.exp(-distance / (2 * deviation**2))
        weights = (weights / weights.sum(-1, keepdim=True))[:, None]
        return weights @ x @ weights.transpose(-1, -2)

    def turned(x):
        """Hue, in the YIQ plane."""
        angle = torch.empty(count).uniform_(-0.1, 0.1) * 2 * torch.pi
        one, zero, cos, sin = angle * 0 + 1, angle * 0, angle.cos(), angle.sin()
        plane = torch.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], -1).view(-1, 3, 3)
        return (torch.linalg.inv(yiq) @ plane @ yiq @ x.flatten(2)).view_as(x)

    def view(batch):
        def uniform(low: float, high: float):
            return torch.empty(count, 1, 1, 1).uniform_(low, high)

        scale = uniform(0.08, 1.0).sqrt().flatten()
        mirrored = torch.where(torch.rand(count) < 0.5, -1.0, 1.0)
        transform = torch.zeros(count, 2, 3)
        transform[:, 0, 0], transform[:, 1, 1] = scale * mirrored, scale
        transform[:, :, 2] = (torch.rand(count, 2) * 2 - 1) * (1 - scale)[:, None]
        grid = F.affine_grid(transform, (count, 3, size, size), align_corners=False)
        x = F.grid_sample(batch, grid, padding_mode="border", align_corners=False)
        jitter = torch.rand(count, 1, 1, 1) < 0.8
        y = x * uniform(0.6, 1.4)
        centre = (y * luma).sum(1, keepdim=True).mean((2, 3), keepdim=True)
        y = centre + (y - centre) * uniform(0.6, 1.4)
        grey = (y * luma).sum(1, keepdim=True)
        x = torch.where(jitter, turned(grey + (y - grey) * uniform(0.6, 1.4)), x)
        grey = (x * luma).sum(1, keepdim=True).expand_as(x)
        x = torch.where(torch.rand(count, 1, 1, 1) < 0.2, grey, x)
        return (blurred(x).clamp(0, 255) - mean) / deviation

    def step() -> None:
        rows = random.choice(len(pictures), count, replace=False)
        batch = torch.from_numpy(pictures[rows]).permute(0, 3, 1, 2).float()
        with torch.no_grad():
            views = torch.cat([view(batch), view(batch)])
            views = views.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=args.dtype == "bfloat16"):
            z = network(views)
        z = F.normalize(z.float())
        similarity = (z @ z.T / 0.2).fill_diagonal_(-1e9)
        loss = F.cross_entropy(similarity, torch.arange(2 * count).roll(count))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def main() -> None:
    args = parse_arguments()
    import_keras()
    shape = (4 * args.batch_size, *2 * (round(1.5 * args.image_size),), 3)
    pictures = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    steps = {"ours": ours(args, pictures), "bare forward and backward": bare(args)}
    try:
        steps["plain PyTorch"] = pytorch(args, pictures)
    except ImportError:
        print("torch is not installed: no PyTorch row (pip install -r requirements-dev.txt)")
    best = dict.fromkeys(steps, float("inf"))
    for number in range(args.rounds + 1):  # the first compiles
        for name, step in steps.items():
            began = time.perf_counter()
            step()
            if number:
                best[name] = min(best[name], time.perf_counter() - began)
    print(f"ResNet-18, {args.image_size} px, batch {args.batch_size}, {args.dtype}")
    print(f"{'':26} seconds  pictures/s  ours is")
    for name, seconds in best.items():
        rate, share = args.batch_size / seconds, seconds / best["ours"]
        print(f"{name:26} {seconds:7.2f} {rate:11.0f}  {share:6.0%}")


if __name__ == "__main__":
    run(main)
