import numpy as np
import pytest

from captioning.captioners.loading import load_captioner
from captioning.cli import UserError
from captioning.decoders.ensemble import Ensemble, join
from captioning.decoders.search import generate
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
