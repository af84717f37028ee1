"""Every preset against the number in its paper."""

import pytest

from contrastive.presets import View, settings_for, views_for


def jitter(view: View) -> tuple[float, ...]:
    return view.brightness, view.contrast, view.saturation, view.hue


def settings(method: str, batch_size: int, images: int = 10**5, epochs: float = 100, **given):
    given = {"method": method, **given}
    return settings_for(given, batch_size=batch_size, images=images, epochs=epochs)


def test_simclr_views():
    """arXiv 2002.05709, appendix A: strength 1; B.9: half of it for small pictures."""
    first, second = views_for("simclr", 224)
    assert first == second
    assert (first.min_area, first.max_area, first.aspect) == (0.08, 1.0, 4 / 3)
    assert (first.jitter, first.grey, first.blur, first.flip) == (0.8, 0.2, 0.5, 0.5)
    small, strong = views_for("simclr", 64)[0], views_for("simclr", 64, strength=1.0)[0]
    assert jitter(first) == jitter(strong) == pytest.approx((0.8, 0.8, 0.8, 0.2))
    assert jitter(small) == pytest.approx((0.4, 0.4, 0.4, 0.1))


def test_moco_views():
    """`--aug-plus` of the official code: RandomResizedCrop(scale=(0.2, 1)), ColorJitter(...)."""
    first, second = views_for("moco", 224)
    assert first == second
    assert (first.min_area, first.max_area) == (0.2, 1.0)
    assert jitter(first) == (0.4, 0.4, 0.4, 0.1)
    assert (first.jitter, first.grey, first.blur, first.flip) == (0.8, 0.2, 0.5, 0.5)


def test_byol_views_differ():
    """arXiv 2006.07733, table 6: the columns of the two views."""
    views = views_for("byol", 224)
    for view in views:
        assert (view.min_area, view.jitter, view.grey) == (0.08, 0.8, 0.2)
        assert jitter(view) == (0.4, 0.4, 0.2, 0.1)
    assert [(view.blur, view.solarize) for view in views] == [(1.0, 0.0), (0.1, 0.2)]


def test_small_crops():
    """arXiv 2006.09882: small views of 5 to 14% of the picture, large ones of the rest."""
    large, _, *small = views_for("simclr", 96, small_crops=4)
    assert len(small) == 4
    assert (large.size, large.min_area, large.max_area) == (96, 0.14, 1.0)
    assert (small[0].size, small[0].min_area, small[0].max_area) == (48, 0.05, 0.14)


@pytest.mark.parametrize(
    ("epochs", "rate", "decay", "momentum"),
    [
        (6, 0.45, 1e-6, 0.97),
        (100, 0.45, 1e-6, 0.99),
        (300, 0.3, 1e-6, 0.99),
        (1000, 0.2, 1.5e-6, 0.996),
    ],
)
def test_byol_by_the_length_of_the_run(epochs, rate, decay, momentum):
    """The official configs/byol.py; rates of a batch of 4,096 are 16 times those of 256."""
    assert settings("byol", 4096, epochs=epochs) == {
        "method": "byol",
        "optimizer": "lars",
        "learning_rate": pytest.approx(16 * rate),
        "weight_decay": decay,
        "momentum": momentum,
    }


def test_simclr_and_moco_by_the_batch():
    simclr, moco = (settings(method, 1024, images=40_000) for method in ("simclr", "moco"))
    assert (simclr["optimizer"], simclr["weight_decay"]) == ("lars", 1e-6)
    assert simclr["learning_rate"] == pytest.approx(0.075 * 32)
    assert (moco["optimizer"], moco["weight_decay"], moco["momentum"]) == ("sgd", 1e-4, 0.999)
    assert (moco["learning_rate"], moco["queue_size"]) == (pytest.approx(0.12), 9 * 1024)


def test_adamw_rate_grows_with_the_root_of_the_batch():
    rates = [settings("simclr", b, optimizer="adamw")["learning_rate"] for b in (256, 1024)]
    assert rates == pytest.approx([1e-3, 2e-3])


def test_what_is_given_holds_and_a_decay_of_zero_is_a_decay():
    given = {"optimizer": "sgd", "weight_decay": 0.0, "learning_rate": 0.5, "temperature": None}
    chosen = settings("simclr", 8, **given, momentum=0.9)
    assert (chosen["weight_decay"], chosen["learning_rate"], chosen["temperature"]) == (0, 0.5, 0.2)
    assert "momentum" not in chosen  # SimCLR has none
