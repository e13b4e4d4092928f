"""What a user's words say about the remark before them: that it was wrong, and what would have been right. Pure.

    "no, that was salt"   "No, it's the salt."   "that's wrong, it was the sugar"   "not the salt, the sugar"
    "no"   "nothing happened"   "that's not the salt"

A question stays a question, and so does small talk. Words that say no, but not in a way that is understood, take the
remark back (`is_clear` is False then), for it is known to be wrong.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

MAX_WORDS = 5
"""Longer than this, words are not the name of a thing."""

_THAT = r"(?:that|it|this|these|those|they)"
_IS = r"(?:\s*'?s|\s+is|\s+was|\s*'re|\s+are|\s+were)"
_ARTICLE = r"(?:the|an?|some|my|your)\s+"
_FALSE = r"(?:wrong|incorrect|false|untrue|mistaken|a\s+mistake)"
_TRUE = r"(?:(?:quite|really|at\s+all)\s+)?(?:right|true|correct|it|what\s+(?:i\s+did|happened))"
_DENIAL = re.compile(
    rf"""(?:oh\s+|well\s+)?no(?:\s+no)* | nope | nah | not\s+(?:that|quite|really|at\s+all)
    | (?:{_THAT}{_IS}\s+)?(?:{_FALSE}(?:\s+again)?|not\s+{_TRUE}) | you(?:\s*'?re|\s+are)\s+{_FALSE}
    | {_THAT}\s+(?:is|was|are|were|did|does)(?:n'?t|\s+not)(?:\s+{_TRUE})?
    | (?:there\s+(?:is|was)\s+)?nothing(?:\s+(?:has\s+)?happened|\s+there)?
    | {_THAT}\s+(?:did\s+not|didn'?t|never)\s+happen(?:ed)?
    | i\s+(?:did\s+not|didn'?t|haven'?t|have\s+not|wasn'?t|was\s+not)(?:\s+(?:do|done)?\s*(?:it|that|this|anything))?
    | i\s*'?m\s+not | i\s+am\s+not | i\s+did\s+nothing""",
    re.IGNORECASE | re.VERBOSE,
)
_FILLER = re.compile(r"sorry|well|oh|hey|look|please|um+|uh+|i think|i mean|you see|again|in fact", re.IGNORECASE)
_SMALL_TALK = re.compile(
    r"""(?:no\s+)?(?:thanks|thank\s+you|problem|idea|way|worries|need|matter|one|wait|stop|go|come|never\s*mind|more|enough
    |what|where|when|why|how|who|whose|which|is|are|am|was|were|do|does|did|can|could|should|would|will|shall|may
    |tell|show|give|let|look|listen|say|speak|be|keep|leave|don'?t|just|if|and|or|yes|yeah|ok|okay
    |(?:that|it|this|these|those|they)(?:'?s|\s+is|\s+was|'re|\s+are)\s+(?:all|fine|good|great|ok|okay|nice|enough|right
    |true|correct|cool|funny|perfect|alright|it|me|you|so|too|very|really)\b.*)\b.*""",
    re.IGNORECASE | re.VERBOSE,
)
_NO_THING = re.compile(
    r"(?:i|you|he|she|it|we|they|that|this|the|an?|is|was|are|were|(?:an)?other|there|here|now|yet"
    r"|bad|sure|good|great|fine|nice|ok|okay|right|true|wrong"
    r"|correct|so|too|very|much|really|quite|all|enough|thanks|please|wait|stop|not|no|yes|in|on|at|to|from|with"
    r"|going|doing|being|what|where|who|how|when|why|because|if|only)\b",
    re.IGNORECASE,
)
_WRONG = re.compile(
    rf"(?:{_THAT}(?:{_IS}\s+not|\s+(?:is|was|are|were)n'?t)|not)\s+(?P<article>{_ARTICLE})?(?P<thing>.+)", re.IGNORECASE
)
_RIGHT = re.compile(
    rf"(?:{_THAT}{_IS}|(?:you|i) meant?|i said|{_THAT}\s+(?:should|must)\s+(?:be|have been))\s+"
    rf"(?:(?:actually|really|just|rather|probably|clearly)\s+)?(?:{_ARTICLE})?(?P<thing>.+)",
    re.IGNORECASE,
)
_DID = re.compile(
    rf"i(?:\s*'?m|\s*'?ve|\s+am|\s+have|\s+was)?\s+(?!did|do|don|have|can|could|will|would|want|need|think|like)"
    rf"(?:[a-z']+\s+){{1,3}}?{_ARTICLE}(?P<thing>.+)",
    re.IGNORECASE,
)
_NAMED = re.compile(rf"(?P<article>{_ARTICLE})(?P<thing>.+)", re.IGNORECASE)
_TRAILING = re.compile(
    r"[\s,]+(?:please|actually|really|though|instead|again|sorry|thanks|this time|i think|you know|of course|here|now"
    r"|(?:that|which|who)\s.*|i\s.*)$",
    re.IGNORECASE,
)
_ARTICLE_IN_REMARK = re.compile(r"\b(the|an?)\s+", re.IGNORECASE)
_END = re.compile(r"[\s.!?…]*$")
_PREPOSITION = re.compile(r"\b(?:on|in|into|onto|from|to|of|with|at|by|for|and|under|over|behind)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Correction:
    """What was wrong with a remark.

    right: the thing to name instead, without its article; None: nothing, the remark is taken back.
    wrong: the thing that was named wrongly; None: the last one of the remark.
    is_clear: False if the words say no and the rest of them is not understood.
    """

    right: str | None
    wrong: str | None = None
    is_clear: bool = True


def read_correction(words: str, *, after_denial: bool = False) -> Correction | None:
    """The correction in a user's words; None if they correct nothing.

    after_denial: the remark was denied just before, so that "it was the salt" puts it right.
    """
    if words.rstrip().endswith("?"):
        return None
    # What was wrong first: "salt, not the sugar" is known by its end.
    clauses = sorted(_clauses(words), key=lambda c: not (_DENIAL.fullmatch(c) or _WRONG.fullmatch(c)))
    if clauses and _SMALL_TALK.fullmatch(" ".join(c for c in clauses if not _DENIAL.fullmatch(c)) or "-"):
        return None
    is_denied, is_sure = after_denial, after_denial
    right = wrong = None
    is_clear = True
    for clause in clauses:
        if _DENIAL.fullmatch(clause):
            is_denied = is_sure = True
        elif clause.lower() == "actually":
            is_sure = True
        elif match := _WRONG.fullmatch(clause):
            thing = _thing(match["thing"])
            is_clear = is_clear and thing is not None
            if thing and (match["article"] or is_denied or right or not clause.lower().startswith("not ")):
                wrong, is_sure = thing, True
            elif thing and wrong is None:
                wrong = thing
        elif thing := _named_right(clause, is_bare_fine=is_sure or wrong is not None):
            right = right or thing
        else:
            is_clear = False
    if right and (is_sure or wrong):
        return Correction(right, wrong)
    if wrong and is_sure and is_clear:
        return Correction(None, wrong)
    says_no = any(_DENIAL.fullmatch(clause) for clause in clauses)
    return Correction(None, wrong, is_clear and not right) if says_no else None


def correct(remark: str, correction: Correction) -> str | None:
    """The remark with the right thing in the place of the wrong one, article and full stop kept.

    None where nothing is to be said instead, nothing can be replaced, or it would say the same as before.
    """
    span = _span(remark, correction.wrong) or _span(remark, None)
    if correction.right is None or span is None:
        return None
    start, end = span
    right = correction.right
    if re.search(r"\bones?$", right):  # "the blue one": the same kind of thing
        right = re.sub(r"ones?$", remark[start:end].split()[-1], right)
    before = remark[:start]
    if match := re.search(r"\b(an?)(\s+)$", before, re.IGNORECASE):
        article = match[1][0] + ("n" if right[0].lower() in "aeiou" else "")
        before = before[: match.start()] + article + match[2]
    corrected = before + right + remark[end:]
    return corrected if corrected.lower() != remark.lower() else None


def names(remark: str, thing: str) -> bool:
    """Whether the remark names the thing."""
    return re.search(rf"\b{re.escape(thing)}\b", remark, re.IGNORECASE) is not None


def _span(remark: str, thing: str | None) -> tuple[int, int] | None:
    """Where the remark names a thing, without its article: `thing`, or whatever follows the last article."""
    articles = list(_ARTICLE_IN_REMARK.finditer(remark))
    if thing is None:
        end = len(_END.sub("", remark))
        return (articles[-1].end(), end) if articles and articles[-1].end() < end else None
    match = re.search(rf"\b{re.escape(thing)}\b", remark, re.IGNORECASE)
    if match is None:
        return None
    starts = [a.end() for a in articles if a.end() <= match.start()]
    if starts:  # "the yellow moka pot" as a whole, if "moka pot" was wrong
        between = remark[starts[-1] : match.start()]
        if len(between.split()) <= 2 and not _PREPOSITION.search(between):
            return starts[-1], match.end()
    return match.span()


def _clauses(words: str) -> Iterator[str]:
    """The words cut where a person would pause, without fillers; sentences no longer begin with a capital."""
    words = re.sub(r"\s+", " ", words.replace("’", "'").strip())
    words = re.sub(r"([.!:;]\s)([A-Z])(?=[a-z])", lambda m: m[1] + m[2].lower(), words)
    words = re.sub(r"\s*[–—]\s*|\s+-+\s+", ", ", words)
    words = re.sub(r",?\s+(?:instead of|rather than|and not)\s+", ", not ", words, flags=re.IGNORECASE)
    words = re.sub(r",?\s+but\s+", ", ", words, flags=re.IGNORECASE)
    opening = r"^((?:(?:oh|well) )?(?:no|nope|nah|wrong|actually|sorry))"
    going_on = rf"(?=(?:{_THAT}|the|an?|my|not|nothing|wrong|i|you|actually)\b)"
    words = re.sub(rf"{opening} {going_on}", r"\1, ", words, flags=re.IGNORECASE)
    # "that's not salt it's sugar": speech has no commas
    words = re.sub(rf"(?<=[\w]) (?={_THAT}{_IS}\b)", ", ", words, flags=re.IGNORECASE)
    for clause in re.split(r"\s*[.,;:!]+(?:\s+|$)", words):
        clause = re.sub(rf"^(?:{_FILLER.pattern})\s+(?={_THAT}\b|the\b|an?\b)", "", clause, flags=re.IGNORECASE)
        if clause and not _FILLER.fullmatch(clause):
            yield clause


def _named_right(clause: str, *, is_bare_fine: bool) -> str | None:
    for pattern in (_RIGHT, _DID, _NAMED):
        if match := pattern.fullmatch(clause):
            return _thing(match["thing"])
    is_short = len(clause.split()) <= 3
    return _thing(clause) if is_bare_fine and is_short else None


def _thing(words: str) -> str | None:
    """The name of a thing, without what trails behind it; None if the words are none."""
    words = words.strip(" .,!'\"")
    while (shorter := _TRAILING.sub("", words)) != words:
        words = shorter
    is_name = re.fullmatch(r"\w[\w'/ -]*", words) and len(words.split()) <= MAX_WORDS
    return words if is_name and not _NO_THING.match(words) else None
