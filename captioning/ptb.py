r"""Penn Treebank tokenization of a caption, as the COCO caption evaluation toolkit does it.

The toolkit (Chen et al., "Microsoft COCO Captions", arXiv 1504.00325) runs the PTBTokenizer of
Stanford CoreNLP 3.4.1 with `-preserveLines -lowerCase`, then drops its list of punctuation; scores
compare only between captions tokenized that way. This module does the same without Java. Its rules
are our own, found by comparing outputs. Two quirks of the toolkit are kept on purpose: it drops
"-LRB-" but, after lower-casing, never sees it, so brackets stay, as "-lrb-" and the like; and a
token with a space inside, such as "3 1/2", has a no-break space there.

The Java lexer can look past a line break at the next caption of its file (for the start of a
sentence, say); here each caption stands alone. Known to differ: file names and versions such as
"1.jpg" or "5.x", mark-up with odd attributes, rarer scripts, and some pieces glued
together without a space, such as "Jr.I".
"""

import re
import unicodedata

# The lexer's letters and digits: not superscripts, fractions, circled digits. The combining signs
# that it knows (vowels of Hindi, Thai or vowelled Arabic are such) are letters.
_SIGNS = (
    r"\u02c2-\u02c5\u02d2-\u02df\u02e5-\u02ff\u0300-\u036f\u0375\u0378\u0379\u0384\u0385\u03f6\u0483-"
    r"\u0487\u055a-\u055f\u058a\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0615-\u061a\u064b-\u065e"
    r"\u0670\u06d6-\u06ed\u06fd\u06fe\u070f\u0711\u0730-\u074c\u07a6-\u07b0\u07eb-\u07f3\u0900-\u0903"
    r"\u093c\u093e-\u094e\u0951-\u0955\u0962\u0963\u0981-\u0983\u09bc\u09be-\u09c4\u09c7\u09c8\u09cb-\u09cd"
    r"\u09d7\u09e2\u09e3\u0a01-\u0a03\u0a3c\u0a3e-\u0a4f\u0a81-\u0a83\u0abc\u0abe-\u0acf\u0b82\u0bbe-\u0bc2"
    r"\u0bc6-\u0bc8\u0bca-\u0bcd\u0c01-\u0c03\u0c3e-\u0c56\u0d3e-\u0d44\u0d46-\u0d48\u0e31\u0e34-\u0e3a"
    r"\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ecd\u1885\u1886"
)
_W = rf"(?:[^\W_²³¹¼-¾\u2070-\u2099\u2150-\u218b\u2460-\u24ff\u2776-\u2793]|[{_SIGNS}])"
_L = rf"(?:(?!\d){_W})"
_WORD = rf"{_L}{_W}*(?:[.!?]{_L}{_W}*)*"  # "sits.the" is one word: a missing space stays missing
_QUOTE = "['’‘‛`]"  # as an apostrophe, only inside a word
_ENDING = "(?:[smd]|ll|re|ve)"
_CLITIC = rf"(?:’{_ENDING}|'{_ENDING}(?![a-z]))"
_ACRONYM = r"[a-z](?:\.[a-z])+"
_PART = rf"(?:[dol]{_QUOTE}(?={_L}{_W}))?{_W}+"  # "o'clock", "d'Artagnan", "l'eau"
_HYPHENATED = rf"{_PART}(?:[-\u2010\u2011](?:{_ACRONYM}\.|{_PART}))*"
_SLASHED = "[a-z0-9]+(?:-[a-z]+){0,2}"
_PATH = r"[^\s\"<>|(){}]+[^\s\"<>|(){}.!?,;:-]"


def _any(words: str) -> str:
    return f"(?:{'|'.join(words.split())})"


# These keep their period; the second list only with a capital, the third only before a number.
_ABBREVIATION = _any(r"""
    adj adm adv al ala alex apr ariz assn assoc asst atty attys aug ave bhd bldg blvd brig bros
    calif capt cf cie cmdr co col colo comdr conn corp cos cpl ct dak dec dept det dr drs elec ens
    esq est etc ext feb fla fri ft ga gen gov govs hon inc ind insp intl invt jan jos jr jul jun
    kan kans ky lieut lt ltd maj mar md messrs mfg mich minn mlle mme mo mon mont mr mrs ms msgr mt
    mtg natl neb nev nov oct okla penn pfc ph\.d ph plc ppte pptes ppty pptys pres prof profs pte
    ptes pty ptys pvt rd rep reps rev rt sen sens sep sept seq sfc sgt spc sq sr st ste supt supts
    sys tel tenn thu thurs treas tue tues univ va vs vt wed wis wisc wm wyo""")
_NAME = _any("ark az del ill la mass miss ore pa tex wash")
_COUNTER = _any("art ca fig figs no nos op p pp prop")
# One of these, capitalised, after a single letter and a period says that a sentence ended there.
_START = _any("""
    a about according additionally after an as at but earlier he her here however if in it last
    many more now once one other our she since so some such that the their then there these they
    this we what when while yet you""")

# The longest match wins and, among equals, the first rule. Where a rule has to see more than its
# token, a group marks the token; the rest still counts for the length, as in any lexer generator.
_RULES = [
    re.compile(rule, re.IGNORECASE)
    for rule in (
        # Contractions: man|'s do|n't can|not gon|na 't|was y'|all
        rf"({_HYPHENATED}|{_ACRONYM}|{_WORD}){_CLITIC}",
        _CLITIC,
        rf"([a-z]+)n{_QUOTE}t",
        rf"n{_QUOTE}t(?!{_L})",
        rf"(?:(can)not|(gon|wan)na|(got)ta|(gim|lem)me)(?!{_W})",
        r"('t)(?:is|was)",
        rf"(y['’]){_L}",
        # Words, some with an apostrophe: Hawai'i O'Neill 'em '90s rock 'n' roll ol'
        _WORD,
        _HYPHENATED,
        rf"{_W}+(?:[-_]{_W}+)+",
        rf"{_L}+[aeiouy]{_QUOTE}(?-i:[aeiouA-Z]){_L}*|(?-i:[A-HJ-XZn]){_QUOTE}{_L}{{2,}}",
        r"['’](?:em|till?|cause|[2-9]0s|\d\d(?= |$))|'n(?:'|(?= |$))|’n’?",
        r"(?:ol|dunkin|somethin|[djl])['’]|c['’]est",
        r"c'mon|cont'd\.|e'er|ev'ry|li'l|nat'l|nor'easter|s'mores",
        # Abbreviations: U.S. D.C.-area Mr. Mass. No. 5, a lone initial, and any word before ".,"
        rf"(?:[a-z](?:\.[a-z])*\.|{_ABBREVIATION}\.|{_ACRONYM})(?:-{_HYPHENATED})?",
        rf"(?=(?-i:[A-Z])){_NAME}\.",
        rf"({_COUNTER}\.) ?\d+",
        rf"([a-z])\. (?=(?-i:[A-Z])){_START}(?= |$)",
        rf"((?:{_WORD}|{_HYPHENATED})\.)[,;:…]",
        # Numbers: 1,000 10:30 3.5-inch (555) 123-4567 12/25/2008 3 1/2
        r"[+-]?(?:\d+|[.:,]\d+)(?:[.:,]\d+)*",
        r"[a-z0-9][a-z0-9.,]*(?:-[a-z0-9]+)+",
        r"(?:\(\d{2,3}\) ?|(?:\+\+?)?(?:\d{2,4}[- ])?\d{2,4}[- ])\d{3,4}[- ]?\d{3,5}",
        r"(?:(?:\+\+?)?\d{2,4}\.)?\d{2,4}\.\d{3,4}\.\d{3,5}",
        r"\d{1,2}[-/]\d{1,2}[-/]\d{2,4}",
        r"(?:\d{1,4}[- ])?\d{1,4}(?:\\?/|\u2044)\d{1,4}",
        # and/or, AT&T, C++, @user, #tag, e-mail, URLs, mark-up
        rf"{_SLASHED}(?:\\?/{_SLASHED}){{1,2}}",
        r"(?-i:[A-Z]+(?:[+&][A-Z]+)+)|c\+\+|c#",
        rf"@[a-z_][a-z0-9_]*|#{_L}+",
        r"<?[a-z0-9][^\s\"<>|(){}]*@(?:[^\s\"<>|(){}.]+\.)*[^\s\"<>|(){}.]+>?",
        rf"https?://{_PATH}|{_L}{_W}*(?:\.{_W}+)*\.(?:com|net|org|edu)/{_PATH}",
        rf"www\.(?:[^\s\"<>|.!?(){{}},]+\.)+[a-z]{{2,4}}(?:/{_PATH})?",
        r"</?[a-z][\w:.-]*(?: [^<>]*)?/?>|&(?:amp|apos|gt|lt|nbsp|quot|#\d+);",
        # Smileys, currencies (US$), runs of one sign, any sign by itself
        r"(?-i:[<>]?[:;=][-o*']?[()|\\{@\[\]DPdpO])(?![a-z0-9])",
        r"[-^x=~<>']_[-^x=~<>']|\([-^x=~<>'][_.]?[-^x=~<>']\)",
        r"(?-i:[A-Z]+)\$",
        r"\.{3,4}|-+|[!?]{2,}|\*+|_+|#+|@+|<<|>>|''|``",
        r"\S",
    )
]
# A short cut: most words are plain, and no rule would read past the space after them.
_PLAIN = re.compile("(?!cannot|gonna|wanna|gotta|gimme|lemme)[a-z]+(?= )", re.IGNORECASE)

# The lexer deletes what it cannot read: controls, emoji, joiners, most currencies and Roman
# numerals, Unicode hyphens outside a word, and combining signs that it does not know as letters.
_LOST_SIGNS = "".join(
    sign for sign in map(chr, range(0x300, 0x10000))
    if unicodedata.category(sign)[0] == "M" and not re.match(_W, sign)
)  # fmt: skip
_UNREADABLE = re.compile(
    r"[\x7f-\x9f\u200b-\u200f\u2012\u2024\u2025\u2027-\u202e\u203c\u203d\u2043\u2045-\u206f\u20a1-"
    r"\u20a3\u20a5-\u20ab\u20ad-\u20f0\u2160-\u218b\ufe00-\ufe0f\ufeff\U00010000-\U0010ffff]"
    rf"|(?<!\w)[\u2010\u2011]|[\u2010\u2011](?!\w)|[{_LOST_SIGNS}]"
)
_RESPELLED = """
    [→-lsb- ]→-rsb- {→-lcb- }→-rcb- &amp;→& &lt;→< &gt;→> €→$ ¤→$ ₠→$ £→# ¢→cents ¼→1/4 ½→1/2 ¾→3/4
    ⅓→1/3 ⅔→2/3 ’s→'s ’m→'m ’d→'d ’ll→'ll ’re→'re ’ve→'ve n’t→n't n‘t→n`t n‛t→n`t"""
_SPELLINGS = {raw: new for raw, new in (pair.split("→") for pair in _RESPELLED.split())}
_INNER_SPELLINGS = str.maketrans({"(": "-lrb-", ")": "-rrb-", " ": "\xa0"})
# The toolkit's list, less the upper-case brackets, with all that the lexer respells as one of it.
_PUNCTUATION = """
    ' '' ` `` . ? ! , : - -- ... ; " “ ” ‘ ’ ‛ « » ‹ › … .... – — ― --- ---- &quot; &apos; &nbsp;"""
_DROPPED = frozenset(_PUNCTUATION.split())


def ptb_tokenize(caption: str) -> list[str]:
    """The lower-case tokens of one caption, without punctuation, as the toolkit has them."""
    caption = " ".join(_UNREADABLE.sub(" ", caption.replace("\xad", "")).split())
    tokens = []
    position = 0
    while position < len(caption):
        if caption[position] == " ":
            position += 1
            continue
        match = _PLAIN.match(caption, position) or max(
            filter(None, (rule.match(caption, position) for rule in _RULES)), key=re.Match.end
        )
        group = match.lastindex or 0
        position = match.end(group)
        token = match[group].lower()
        if token not in _DROPPED:
            tokens.append(_SPELLINGS.get(token, token).translate(_INNER_SPELLINGS))
    return tokens
