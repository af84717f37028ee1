import numpy as np
import pytest

from captioning.captioners.loading import load_captioner
from captioning.cli import UserError
from captioning.datasets.descriptions import write_descriptions
from captioning.decoders.ensemble import Ensemble, join
from captioning.decoders.expected_words import sizes_for
from captioning.decoders.search import generate
from captioning.features.files import write_features
from captioning.features.reading import Features
from tests.conftest import run_script, succeed
from tests.decoder_tools import features_for, tiny
from tools import export_model

WORDS = ["startseq", "endseq", "a", "dog", "cat", "sits", "runs"]


def halved(name: str, seed: int):
    """A decoder whose weights half precision holds to the bit."""
    model = tiny(name, WORDS, 7, seed=seed)
    model.set_weights([weight.astype(np.float16) for weight in model.get_weights()])
    return model


@pytest.mark.slow
@pytest.mark.parametrize("names", [["attention"], ["attention", "transformer"]])
def test_an_exported_file_captions_as_its_models_do_together(names, tmp_path):
    models = [halved(name, seed) for seed, name in enumerate(names)]
    for name, model in zip(names, models, strict=True):
        model.save(tmp_path / f"{name}.keras")

    given = (*(f"{name}.keras" for name in names), "--output", "out.keras")
    succeed(run_script("tools/export_model.py", *given, cwd=tmp_path))

    loaded, features = load_captioner(tmp_path / "out.keras"), features_for(models[0], 3)
    expected = join(models) if len(models) > 1 else models[0]
    assert isinstance(loaded, Ensemble) == (len(models) > 1)
    assert generate(loaded, features) == generate(expected, features)


def test_models_that_do_not_fit_together_are_refused(tmp_path, monkeypatch, call_main):
    monkeypatch.chdir(tmp_path)
    attention, merge = halved("attention", 0), halved("merge", 1)
    attention.save(tmp_path / "attention.keras")
    merge.save(tmp_path / "merge.keras")
    tiny("attention", [*WORDS, "bird"], 7).save(tmp_path / "words.keras")
    join([attention, attention]).save(tmp_path / "ensemble.keras")

    for other, message in (
        ("merge.keras", "merge.keras: has other words or features"),
        ("words.keras", "words.keras: has other words or features"),
        ("ensemble.keras", "ensemble.keras: is an ensemble itself"),
        ("model.h5", "model.h5: give a .keras file"),
    ):
        with pytest.raises(UserError, match=message):
            call_main(export_model.main, "attention.keras", other, "--output", "out.keras")
    assert not (tmp_path / "out.keras").exists()


@pytest.fixture
def fine_tuned(tmp_path, monkeypatch):
    """A folder with a model that has no expected words, features of its encoder, and captions."""
    monkeypatch.chdir(tmp_path)
    model = halved("attention", 0)
    model.save(tmp_path / "model.keras")
    ids, matrix = [f"image{number}" for number in range(20)], features_for(model, 20)
    write_features("features.h5", [(ids, matrix)], {}, rows=20)
    captions = (["a dog runs"], ["a cat sits"], ["a dog sits"])
    texts = {image_id: captions[number % 3] for number, image_id in enumerate(ids)}
    write_descriptions("descriptions.txt", texts, "original")
    (tmp_path / "train.txt").write_text("\n".join(ids[:15]))
    return model, Features(ids[:15], matrix[:15], {}), texts


EXPORT = ("model.keras", "--output", "out.keras", "--features", "features.h5")
EXPORT += ("--descriptions", "descriptions.txt", "--train-split", "train.txt")


def test_expected_words_are_fitted_to_the_training_images(fine_tuned, call_main):
    model, features, texts = fine_tuned

    call_main(export_model.main, *EXPORT)

    sizes = sizes_for(15, model.feature_size, model.vocabulary)
    expected = model.copy_with(expected_sizes=sizes).expected_words
    expected.fit(features, texts, list(features), model.vocabulary)
    found = load_captioner("out.keras").expected_words
    rows = features.of(["image3", "image8"])[:]
    np.testing.assert_allclose(found(rows), expected(rows), atol=2e-3)  # half precision


def test_captions_by_other_rules_are_refused(fine_tuned, call_main):
    _, _, texts = fine_tuned
    write_descriptions("descriptions.txt", texts, "ptb")

    with pytest.raises(UserError, match="cleaned by the rules ptb"):
        call_main(export_model.main, *EXPORT)
