"""Groups of permutations of 9 tiles: farther apart than any that a greedy choice finds."""

import numpy as np


def affine_group() -> np.ndarray:
    """AGL(1, 9): the 72 maps x -> ax + b, a != 0, of the field of 9 elements; minimum distance 8.

    A difference of two of them is again affine, so they agree in at most one x.
    """
    number = np.arange(9)
    real, imaginary = number % 3, number // 3  # 9 = 3 x 3: the integers modulo 3, with i * i = -1

    def multiply(a: int) -> np.ndarray:
        x, y = real[a], imaginary[a]
        return (real * x - imaginary * y) % 3 + 3 * ((real * y + imaginary * x) % 3)

    def add(a: np.ndarray, b: int) -> np.ndarray:
        return (real[a] + real[b]) % 3 + 3 * ((imaginary[a] + imaginary[b]) % 3)

    return np.array([add(multiply(a), b) for a in range(1, 9) for b in range(9)], np.uint8)


def projective_group() -> np.ndarray:
    """PGL(2, 8): the 504 maps x -> (ax + b) / (cx + d) of the projective line over 8 elements.

    Three points decide a map, so two of them agree in at most two: minimum distance 7. Point 8 is
    infinity.
    """

    def multiply(a: int, b: int) -> int:  # polynomials over 2 elements, modulo x^3 + x + 1
        product = 0
        for shift in range(3):
            product ^= (a << shift) * (b >> shift & 1)
        for bit in (4, 3):
            product ^= (0b1011 << bit - 3) * (product >> bit & 1)
        return product

    inverse = {a: b for a in range(1, 8) for b in range(1, 8) if multiply(a, b) == 1}

    def divide(a: int, b: int) -> int:
        return multiply(a, inverse[b]) if b else 8

    rows = {
        (*(divide(multiply(a, x) ^ b, multiply(c, x) ^ d) for x in range(8)), divide(a, c))
        for a in range(8) for b in range(8) for c in range(8) for d in range(8)
        if multiply(a, d) != multiply(b, c)
    }  # fmt: skip
    return np.array(sorted(rows), np.uint8)
