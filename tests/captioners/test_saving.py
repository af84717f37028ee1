import numpy as np
import pytest

from captioning.captioners.loading import load_captioner
from captioning.captioners.saving import save_half
from captioning.cli import UserError
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


def with_kernel(value: float):
    model = tiny("merge", WORDS[:5], 9)
    model.output_dense.kernel.assign(np.full(model.output_dense.kernel.shape, value))
    return model


def test_a_kernel_beyond_half_precision_keeps_its_own(tmp_path):
    save_half(with_kernel(65_600), tmp_path / "half.keras")
    assert (load_captioner(tmp_path / "half.keras").output_dense.get_weights()[0] == 65_600).all()


def test_weights_that_are_not_finite_are_not_written(tmp_path):
    path = tmp_path / "half.keras"
    save_half(with_kernel(1.0), path)
    before = path.read_bytes()

    with pytest.raises(UserError, match=r"half\.keras: not written, because .* not finite"):
        save_half(with_kernel(np.nan), path)

    assert path.read_bytes() == before
