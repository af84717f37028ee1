"""The original pipeline's own artifacts, made by Keras 2 code (`tf_keras`)."""

import importlib
import json
import pickle
import shutil
import sys
import types

import h5py
import numpy as np
import pytest

from captioning.captioners.loading import load_captioner
from captioning.captioners.tokenizer import read_tokenizer
from captioning.cli import UserError
from captioning.encoders.table import build_network
from tests.conftest import ROOT, run_afresh, succeed

pytestmark = pytest.mark.slow

CAPTIONS = ["startseq red dog runs endseq", "startseq dog sits on red mat endseq"]
LONGEST, WORDS = 7, 7


def network(layers, models, *, words: int = WORDS, width: int = 12, units: int = 16, **options):
    """The original's `define_model` by the layers of either Keras, or one that differs."""
    use = {"image": {}, "embedding": {}, "lstm": {}, "join": layers.add}
    use |= {"before": [], "between": [], "head": []} | options
    image, prefix = layers.Input((width,)), layers.Input((LONGEST,))
    dense = {"activation": "relu", "name": "image"} | use["image"]
    x = layers.Dense(units, **dense)(layers.Dropout(0.5)(image))
    embedding = {"output_dim": units, "mask_zero": True, "name": "embedding"} | use["embedding"]
    y = layers.Embedding(words + 1, **embedding)(prefix)
    for layer in use["before"]:
        y = layer(y)
    y = layers.LSTM(units, **{"name": "lstm"} | use["lstm"])(layers.Dropout(0.5)(y))
    for layer in use["between"]:
        y = layer(y)
    z = layers.Dense(units, activation="relu")(use["join"]([x, y]))
    for layer in use["head"]:
        z = layer(z)
    return models.Model([image, prefix], layers.Dense(words + 1, activation="softmax")(z))


def network_of_keras_2(**options):
    from tf_keras import layers, models

    return network(layers, models, **options)


@pytest.mark.parametrize("protocol", [0, 2, pickle.HIGHEST_PROTOCOL])
@pytest.mark.parametrize("module", ["keras_preprocessing.text", "keras.src.preprocessing.text"])
def test_pickled_tokenizer_objects_are_read_as_data(tmp_path, monkeypatch, module, protocol):
    """A stand-in of the class is pickled under the name that Keras 2 had it at, then taken away."""
    holder = types.ModuleType(module)
    holder.Tokenizer = type("Tokenizer", (), {"__module__": module})
    monkeypatch.setitem(sys.modules, module.split(".")[0], types.ModuleType("parent"))
    monkeypatch.setitem(sys.modules, module, holder)
    tokenizer = holder.Tokenizer()
    tokenizer.word_index = {"startseq": 1, "endseq": 2, "dog": 3}
    tokenizer.word_docs, tokenizer.filters, tokenizer.num_words = {"dog": 1}, "!", None
    (tmp_path / "tokenizer.pkl").write_bytes(pickle.dumps(tokenizer, protocol))
    monkeypatch.undo()

    vocabulary = read_tokenizer(tmp_path / "tokenizer.pkl", max_length=34)

    assert vocabulary.words == ("startseq", "endseq", "dog")
    assert vocabulary.max_length == 34


def saved(model, folder):
    """The model with weights that matter, in a file, and a tokenizer beside it."""
    random = np.random.default_rng(3)
    for weight in model.weights:
        weight.assign(random.uniform(-0.7, 0.9, weight.shape))
    model.save(folder / "model.h5")
    words = "startseq endseq red dog runs mat sits".split()
    index = {word: number for number, word in enumerate(words, start=1)}
    (folder / "tokenizer.pkl").write_bytes(pickle.dumps({"word_index": index}))
    return folder / "model.h5", folder / "tokenizer.pkl"


def assert_same_predictions(model, captioner):
    random = np.random.default_rng(8)
    vectors = random.normal(size=(5, 12)).astype(np.float32)
    tokens = random.integers(1, WORDS + 1, (5, LONGEST - 1))
    logits = np.array(captioner.next_words({"features": vectors, "tokens": tokens}))
    ours = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    for length in range(1, LONGEST):
        padded = np.pad(tokens[:, :length], ((0, 0), (LONGEST - length, 0)))
        expected = model([vectors, padded], training=False)
        np.testing.assert_allclose(ours[:, length - 1], expected, atol=1e-5)


@pytest.mark.parametrize("library", ["tf_keras", "keras"])
def test_an_h5_of_either_keras_predicts_as_that(library, tmp_path):
    keras = importlib.import_module(library)
    model = network(keras.layers, keras)
    assert_same_predictions(model, load_captioner(*saved(model, tmp_path)))


def networks_that_differ() -> dict:
    from tf_keras import layers

    return {
        "gru": {"before": [layers.GRU(16, return_sequences=True, name="gru")]},
        "second": {"before": [layers.LSTM(16, return_sequences=True, name="second")]},
        "lambda": {"between": [layers.Lambda(lambda x: x * 2, name="lambda")]},
        "dense": {"head": [layers.Dense(16, name="dense", activation="relu")]},
        "product": {"join": lambda both: layers.Multiply(name="product")(both)},
        "image": {"image": {"activation": "tanh"}},
        "embedding": {"embedding": {"mask_zero": False}},
        "lstm": {"lstm": {"recurrent_activation": "hard_sigmoid"}},
        "lstm ": {"lstm": {"go_backwards": True}},
        "lstm  ": {"lstm": {"use_bias": False}},
        "embedding ": {"embedding": {"output_dim": 24}},
    }


@pytest.mark.parametrize("name", networks_that_differ())
def test_a_layer_that_differs_is_named(name, tmp_path):
    model = network_of_keras_2(**networks_that_differ()[name])
    with pytest.raises(UserError, match=rf"model\.h5: its layer '{name.strip()}[^']*' \("):
        load_captioner(*saved(model, tmp_path))


def test_a_tokenizer_that_was_told_to_use_its_commonest_words(tmp_path):
    """Keras 2's `num_words`: the others are in it, and not in the model."""
    path, tokenizer = saved(network_of_keras_2(), tmp_path)
    index = pickle.loads(tokenizer.read_bytes())["word_index"] | {"cat": 8, "tree": 9}
    tokenizer.write_bytes(pickle.dumps({"word_index": index, "num_words": WORDS + 1}))
    assert load_captioner(path, tokenizer).vocabulary.words == tuple(index)[:WORDS]
    tokenizer.write_bytes(pickle.dumps({"word_index": index}))
    with pytest.raises(UserError, match=r"has 9 words.*trained with 7"):
        load_captioner(path, tokenizer)


@pytest.mark.parametrize("kind", ["circle", "words", "units"])
def test_a_description_that_the_weights_do_not_bear_out_is_refused(kind, tmp_path):
    """None of these may loop, or set memory aside for what is not in the file."""
    path, tokenizer = saved(network_of_keras_2(), tmp_path)
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        for layer in config["config"]["layers"]:
            if kind == "circle" and layer["class_name"] == "Dropout":
                layer["inbound_nodes"][0][0][0] = layer["name"]
            if kind == "words" and layer["config"].get("batch_input_shape") == [None, LONGEST]:
                layer["config"]["batch_input_shape"] = [None, 10**9]
        file.attrs["model_config"] = json.dumps(config)
        if kind == "units":
            group = file["model_weights/lstm"]
            name = group.attrs["weight_names"][1]
            del group[name]
            group.create_dataset(name, (10**6, 1), "f4", data=np.zeros((10**6, 1), "f4"))
    with pytest.raises(UserError, match=r"model\.h5"):
        load_captioner(path, tokenizer)


def test_scripts_3_and_5_run_on_the_originals_artifacts(dataset, tmp_path):
    """As a user who put all four into Pre-trained/, and has the encoder's weights."""
    from tf_keras.preprocessing.text import Tokenizer

    project = tmp_path / "project"
    shutil.copytree(ROOT / "captioning", project / "captioning")
    for script in ("3_BLEU.py", "5_test.py"):
        shutil.copy(ROOT / script, project)
    shelf = project / "Pre-trained"
    shelf.mkdir()
    tokenizer = Tokenizer()
    tokenizer.fit_on_texts(CAPTIONS)
    (shelf / "tokenizer.pkl").write_bytes(pickle.dumps(tokenizer))
    model = network_of_keras_2(words=len(tokenizer.word_index), width=512)
    model.compile(loss="categorical_crossentropy", optimizer="adam")
    model.save(shelf / "model-ep011-loss2.804-val_loss3.415.h5")
    features = {
        name.split(".")[0]: np.random.default_rng(n).normal(size=(1, 512)).astype(np.float32)
        for n, name in enumerate(dataset.names)
    }
    (shelf / "features.pkl").write_bytes(pickle.dumps(features))
    lines = [f"{image_id} red dog runs\n{image_id} dog sits on mat\n" for image_id in features]
    (shelf / "descriptions.txt").write_text("".join(lines))
    build_network("resnet18").save_weights(project / "simclr.weights.h5")

    scored = run_afresh(project / "3_BLEU.py", "--split", dataset.dev, cwd=project)
    encoder = ("--encoder", "resnet18", "--weights", "simclr.weights.h5", "--beam-width", 1)
    captioned = run_afresh(project / "5_test.py", dataset.image, *encoder, cwd=project)

    printed = succeed(scored)
    assert printed.startswith("model Pre-trained/model-ep011-loss2.804-val_loss3.415.h5")
    assert "constant caption" in printed
    assert f"{dataset.names[0]}: " in succeed(captioned)
