import keras
import numpy as np

from captioning.captioners import load_captioner
from captioning.decoders import MergeDecoder
from captioning.half_precision import halve_model


def test_halved_model_is_half_the_size_and_says_nearly_the_same(tmp_path):
    keras.utils.set_random_seed(0)
    words = ["startseq", "endseq", *(f"word{n}" for n in range(500))]
    model = MergeDecoder(64, words, 9)
    model.save(tmp_path / "full.keras")

    halve_model(tmp_path / "full.keras", tmp_path / "half.keras")

    halved = load_captioner(tmp_path / "half.keras")
    sizes = [(tmp_path / name).stat().st_size for name in ("full.keras", "half.keras")]
    assert sizes[1] < 0.6 * sizes[0]
    assert halved.output_dense.kernel.dtype == "float32"
    inputs = {"features": np.ones((2, 64), np.float32), "tokens": np.array([[1, 3], [1, 4]])}
    np.testing.assert_allclose(halved(inputs), model(inputs), atol=2e-3)
