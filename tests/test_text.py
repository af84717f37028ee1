import pytest

from captioning.cli import UserError
from captioning.text import Vocabulary, build_vocabulary, clean, clean_all


@pytest.mark.parametrize(
    "caption, original, ptb",
    [
        ("A man's dog , in 2 boots .", "mans dog in boots", "a man 's dog in 2 boots"),
        ("A T-shirt (red) !", "tshirt red", "a t-shirt red"),
        ("...", "", ""),
        ("A dog’s “red” ball…here", "dogs red ball here", "a dog 's red ball here"),
        ("दो कुत्ते घास पर हैं।", "दो कुत्ते घास पर हैं", "दो कुत्ते घास पर हैं ।"),
        ("একটি ছোট ছেলে", "একটি ছোট ছেলে", "একটি ছোট ছেলে"),
        ("ஒரு சிறுவன் ஓடுகிறான்", "ஒரு சிறுவன் ஓடுகிறான்", "ஒரு சிறுவன் ஓடுகிறான்"),
        ("เด็กชาย วิ่ง", "เด็กชาย วิ่ง", "เด็กชาย วิ่ง"),
        ("وَلَدٌ صَغِيرٌ، يَجْرِي", "وَلَدٌ صَغِيرٌ يَجْرِي", "وَلَدٌ صَغِيرٌ ، يَجْرِي"),
        ("ಒಬ್ಬ ಹುಡುಗ", "ಒಬ್ಬ ಹುಡುಗ", "ಒಬ್ಬ ಹುಡುಗ"),  # which the Java toolkit takes to pieces
        ("", "", ""),
    ],
)
def test_cleaning_rules(caption, original, ptb):
    assert clean(caption, "original") == original.split()
    assert clean(caption, "ptb") == ptb.split()


def test_captions_that_cleaning_empties_are_named():
    cleaned, left_out = clean_all({"1": ["A dog", "!"], "2": ["7"], "3": ["w " * 9999]}, "ptb", "c")
    assert cleaned == {"1": ["a dog"], "2": ["7"]}
    assert left_out == ["1", "3"]
    assert clean_all({"1": ["A dog"], "2": ["7"]}, "original", "c") == ({"1": ["dog"]}, ["2"])


@pytest.mark.parametrize(
    "texts",
    [["...", "?"], ["犬が草の上を走る。"] * 3, ["一只狗在草地上奔跑"] * 2, ["เด็กชายกำลังวิ่ง"]],
)
@pytest.mark.parametrize("rules", ["original", "ptb"])
def test_captions_without_words_or_spaces_are_refused(texts, rules):
    with pytest.raises(UserError, match=r"my\.csv: .*space between two words"):
        clean_all({"1": texts}, rules, "my.csv")


def test_a_caption_longer_than_any_model_takes_is_refused():
    assert build_vocabulary({"1": ["a " * 9998]}, ["1"], "ptb").max_length == 10_000
    with pytest.raises(UserError, match="its max_length is 10001: captions may have 2 to 10000"):
        build_vocabulary({"1": ["a " * 9999]}, ["1"], "ptb")


def test_vocabulary_numbers_words_as_keras_2_did():
    from tf_keras.preprocessing.text import Tokenizer

    descriptions = {"1": ["dog runs", "brown dog sits"], "2": ["cat sits on mat", "cat runs"]}
    tokenizer = Tokenizer()
    tokenizer.fit_on_texts(
        f"startseq {text} endseq" for texts in descriptions.values() for text in texts
    )

    vocabulary = build_vocabulary(descriptions, ["1", "2"], "original")

    assert vocabulary.word_index == tokenizer.word_index


def test_words_outside_the_vocabulary_are_dropped_or_keep_their_place_as_no_word():
    vocabulary = Vocabulary(("startseq", "endseq", "dog"), 5)
    assert vocabulary.encode("a dog barks") == [1, 3, 2]
    assert vocabulary.encode("a dog barks", keep_unknown=True) == [1, 0, 3, 0, 2]


def test_rare_words_are_left_out_of_the_vocabulary_and_count_in_the_longest_caption():
    descriptions = {"1": ["dog runs", "dog sits"], "2": ["dog sits down", "cat"]}
    vocabulary = build_vocabulary(descriptions, ["1", "2"], "original", min_count=2)
    assert vocabulary.words == ("startseq", "endseq", "dog", "sits")
    assert vocabulary.max_length == 5


def test_decoding_stops_at_the_end_word():
    vocabulary = Vocabulary(("startseq", "endseq", "dog", "runs"), 5)
    assert vocabulary.decode([1, 3, 4, 2, 3]) == "dog runs"


def test_a_vocabulary_without_end_word_is_refused():
    with pytest.raises(UserError, match="endseq"):
        Vocabulary(("startseq", "dog"), 5)
