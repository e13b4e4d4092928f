"""Whether an answer is right, and whether it is one: spelling and the order of a list do not matter. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_REFUSALS = ("cant see", "cant tell", "dont know", "cannot")
_OPENING_WORDS = 4
"""An answer that begins with as many words of the right refusal is one."""
_ITEM = re.compile(r"^(?:the|an?) ")
_LAST_ITEM = re.compile(r" (?=(?:on|in|at|near|next|is|are)\b)")


@dataclass(frozen=True)
class ScoredAnswer:
    """A question that was put, and what was answered. kind: what it was about; "unknowable" ones want a refusal."""

    time_s: float
    question: str
    given: str
    true: str
    kind: str = "other"

    @property
    def is_right(self) -> bool:
        """Whether the same was said; of what cannot be known, whether the answer abstains."""
        return same_answer(self.given, self.true) or (self.kind == "unknowable" and self.abstains)

    @property
    def abstains(self) -> bool:
        """Whether it was said that this cannot be known."""
        return abstains(self.given, self.true if self.kind == "unknowable" else "")


def normalize(text: str) -> str:
    """Lower case, words alone, one space between them: " You can't SEE." is "you cant see"."""
    return " ".join(re.sub(r"[^\w\s]", " ", re.sub(r"['’]", "", text.casefold())).split())


def same_answer(given: str, true: str) -> bool:
    """Whether two answers say the same."""
    return normalize(given) == normalize(true) or (listed(given) is not None and listed(given) == listed(true))


def listed(text: str) -> tuple[str, frozenset[str], str] | None:
    """What stands before a list, its things, and what stands after it; None if there is no list.

    "There is the milk, the plate and the red mug on the table." lists milk, plate and red mug.
    """
    first, *others = [part.strip() for part in re.split(r",(?: and)? |\band\b", text.casefold())]
    start = re.search(r".*(?:^|\s)(?=(?:the|an?) )", first)
    if not others or start is None or not all(_ITEM.match(part) for part in others):
        return None
    last, *after = _LAST_ITEM.split(others[-1], maxsplit=1)
    items = [first[start.end() :], *others[:-1], last]
    names = frozenset(normalize(_ITEM.sub("", item)) for item in items)
    return normalize(start.group()), names, normalize(after[0] if after else "")


def abstains(given: str, refusal: str = "") -> bool:
    """Whether an answer says that it cannot be given, or begins as `refusal` does."""
    words, opening = normalize(given), normalize(refusal).split()[:_OPENING_WORDS]
    return any(said in words for said in _REFUSALS) or (bool(opening) and words.split()[: len(opening)] == opening)


def summarize_answers(answers: Sequence[ScoredAnswer]) -> dict[str, float]:
    """Shares: right, right by kind, abstentions where due, and abstentions where an answer was due."""
    summary: dict[str, float] = {}
    if answers:
        summary |= {"answers": len(answers), "answers right": _share([a.is_right for a in answers])}
    for kind in sorted({a.kind for a in answers}):
        of_kind = [a.is_right for a in answers if a.kind == kind]
        summary |= {f"answers {kind}": len(of_kind), f"answers right {kind}": _share(of_kind)}
    due = [a.abstains for a in answers if a.kind == "unknowable"]
    undue = [a.abstains and not a.is_right for a in answers if a.kind != "unknowable"]
    if due:
        summary["abstentions"] = _share(due)
    if undue:
        summary["wrong abstentions"] = _share(undue)
    return summary


def _share(flags: Sequence[bool]) -> float:
    return sum(flags) / len(flags)
