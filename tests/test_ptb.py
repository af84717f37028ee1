"""The COCO toolkit's tokens without Java: the expected values are what the toolkit printed."""

import shutil

import pytest

from captioning.ptb import ptb_tokenize

from .conftest import ROOT

# Invented captions and, after an arrow, their tokens, joined by spaces; "\xa0" is in a token.
TABLE = """\
# Contractions and possessives
A man's dog can't catch the boys' frisbee, but it won't stop.
→ a man 's dog ca n't catch the boys frisbee but it wo n't stop
They're sure he'll say it's fun; I'm not, we've seen it and she'd agree
→ they 're sure he 'll say it 's fun i 'm not we 've seen it and she 'd agree
You cannot surf here, so they gonna wanna gotta gimme lemme go
→ you can not surf here so they gon na wan na got ta gim me lem me go
SHE'S at the GIRLS' game, ISN'T she? DON'T ask → she 's at the girls game is n't she do n't ask
’Tis the bird’s nest that wasn’t there, y’all → tis the bird 's nest that was n't there y’ all
'Twas not, 'tis not, it'd've, dog'sx → 't was not 't is not it 'd 've dog sx
# Words with an apostrophe of their own
O'Brien's five o'clock tea, ma'am → o'brien 's five o'clock tea ma'am
rock 'n' roll, rock'n'roll with 'em → rock 'n' roll rock 'n' roll with 'em
Hawai'i, Qur'an, l'eau and N'Sync → hawai'i qur an l'eau and n'sync
a jack-o'-lantern in a tug-o'-war → a jack-o lantern in a tug-o war
# Quotes
The sign says "STOP" and 'GO' and ``wait'' and “slow” and ‘left’
→ the sign says stop and go and wait and slow and left
# Abbreviations and periods
Mr. Lee and Dr. No, Jr. meet on Elm St. near the U.S. Capitol at 5 p.m.
→ mr. lee and dr. no jr. meet on elm st. near the u.s. capitol at 5 p.m.
It is no. 5, not no. Five, in D.C. → it is no. 5 not no five in d.c.
a D.C.-area band, e.g. a non-U.S. one, etc. → a d.c.-area band e.g. a non-u.s. one etc.
J. Smith wears the letter A. The dog does not → j. smith wears the letter a the dog does not
wash. the Mass. flag, fig. 3, art. deco → wash the mass. flag fig. 3 art deco
a man sits.the dog runs!the end → a man sits.the dog runs!the end
approx., a dog → approx. a dog
# Numbers
1,000 fans, 3.5 miles, 10:30 am, 50% off, -3 or .5 degrees
→ 1,000 fans 3.5 miles 10:30 am 50 % off -3 or .5 degrees
3/4 or 3 1/2 or 2½ cups, ⅓ of it on 12/25/2008
→ 3/4 or 3\xa01/2 or 2 1/2 cups 1/3 of it on 12/25/2008
the 1980s, the 1980's, the '80s, a 3rd 4x4 → the 1980s the 1980 's the '80s a 3rd 4x4
a 3-wheeler, a 3.5-inch mp3, 1st,2nd → a 3-wheeler a 3.5-inch mp3 1st ,2 nd
a 6'2" player and a 5' 10" board → a 6 2 player and a 5 10 board
# Hyphens, dashes, slashes, ampersands
A long-haired dog mid-air - jumping -- high – and — far
→ a long-haired dog mid-air jumping high and far
a man----dog ----- a well\u2010known one → a man dog ----- a well\u2010known one
a black/white dog and/or a cat w/o a leash w/ a ball
→ a black/white dog and/or a cat w/o a leash w / a ball
AT&T, R&B and H&M's rock & roll, salt&pepper → at&t r&b and h&m 's rock & roll salt & pepper
man,red-shirt and dog,cat → man,red-shirt and dog cat
# Runs of marks, emoticons, emoji
Wait... what.. no.... yes… . . . → wait what no yes
Look!!! Really?! Is it? Yes! → look !!! really ?! is it yes
*wow* ** a_b __ #1 @@ + = ~ → * wow * ** a_b __ # 1 @@ + = ~
a dog\U0001f600cat \U0001f600 ♥ → a dog cat ♥
# Brackets: lower-cased, they escape the toolkit's list
A dog (brown), a cat [grey] and {two} (2) toys
→ a dog -lrb- brown -rrb- a cat -lsb- grey -rsb- and -lcb- two -rcb- -lrb- 2 -rrb- toys
# Currency and the internet
salt &amp; pepper &lt; 5 → salt & pepper < 5
$5 £5 €5 US$5 5¢ ¥5 5° → $ 5 # 5 $ 5 us$ 5 5 cents ¥ 5 5 °
@user likes #dog at example.com! → @user likes #dog at example.com
# Letters and white space
A naïve café in São Paulo, 犬 and привет → a naïve café in são paulo 犬 and привет
"""
CASES = [
    tuple(line.split(" → "))
    for line in TABLE.replace("\n→", " →").split("\n")
    if " → " in line and not line.startswith("# ")
]
CASES += [
    ("  two\nlines\tand \u00a0 spaces\r\n", "two lines and spaces"),
    ("", ""),
    (" \n ", ""),
    (" . , ... '' \" - -- ; : ! ?", ""),
]


@pytest.mark.parametrize(("caption", "tokens"), CASES)
def test_tokens_are_the_toolkit_s(caption: str, tokens: str) -> None:
    assert ptb_tokenize(caption) == (tokens.split(" ") if tokens else [])


def test_a_long_caption_takes_no_long_time() -> None:
    assert len(ptb_tokenize("a dog, a man's cat and x,y " * 500)) == 500 * 9


def test_side_by_side_with_the_java_toolkit() -> None:
    """The cases above, and every caption of Flickr8k where that is there."""
    if shutil.which("java") is None:
        pytest.skip("no java on the path to run the toolkit's tokenizer")
    toolkit = pytest.importorskip(
        "pycocoevalcap.tokenizer.ptbtokenizer",
        reason="pycocoevalcap, the toolkit, is not installed",
    )
    captions = [" ".join(caption.split()) for caption, _ in CASES]
    flickr8k = ROOT / "data/flickr8k/Flickr8k_text/Flickr8k.token.txt"
    if flickr8k.is_file():
        lines = flickr8k.read_text(encoding="utf-8").splitlines()
        captions += [" ".join(line.split("\t", 1)[1].split()) for line in lines]
    # A line between keeps the lexer from reading one caption on into the next.
    batch = {i: [{"caption": caption}, {"caption": "end"}] for i, caption in enumerate(captions)}

    tokenized = toolkit.PTBTokenizer().tokenize(batch)

    theirs = {caption: tokenized[i][0] for i, caption in enumerate(captions)}
    assert {caption: " ".join(ptb_tokenize(caption)) for caption in captions} == theirs
