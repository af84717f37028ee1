import numpy as np
import pytest

from captioning.captioners.loading import load_captioner
from captioning.captioners.saving import save_half
from tests.decoder_tools import NAMES, features_for, tiny

WORDS = ["startseq", "endseq", *(f"word{n}" for n in range(2000))]


@pytest.mark.parametrize("name", NAMES)
def test_halved_model_is_half_the_size_and_says_nearly_the_same(name, tmp_path):
    size = {"units": 64} if name == "merge" else {"width": 64}
    model = tiny(name, WORDS, 9, **size)
    model.save(tmp_path / "full.keras")

    save_half(model, tmp_path / "half.keras")

    halved = load_captioner(tmp_path / "half.keras")
    sizes = [(tmp_path / name).stat().st_size for name in ("full.keras", "half.keras")]
    assert sizes[1] < 0.6 * sizes[0]
    assert halved.output_dense.kernel.dtype == "float32"
    inputs = {"features": features_for(model, 2), "tokens": np.array([[1, 3], [1, 4]])}
    np.testing.assert_allclose(halved.next_words(inputs), model.next_words(inputs), atol=2e-2)
