"""Understands when a question is about: "this morning", "an hour ago", "at half past three", "before lunch".

Pure: the clock is given. Times are naive local wall-clock datetimes, so that `timestamp()` knows of summer time.
English only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

_NUMBER_WORDS = "zero|one a an|two couple|three few|four several|five|six|seven|eight|nine|ten|eleven|twelve"
_NUMBERS = {word: value for value, words in enumerate(_NUMBER_WORDS.split("|")) for word in words.split()}
_NUMBERS |= {"fifteen": 15, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50}
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MONTH_WORDS = (
    "january jan|february feb|march mar|april apr|may|june jun|july jul|august aug|september sep sept|october oct|"
    "november nov|december dec"
)
_MONTHS = {word: value for value, words in enumerate(_MONTH_WORDS.split("|"), 1) for word in words.split()}
_PARTS = {  # hours of the day, from and to
    "morning": (5, 12), "breakfast": (6, 10.5), "noon": (11.75, 12.25), "midday": (11.75, 12.25), "lunch": (11.5, 14),
    "lunchtime": (11.5, 14), "afternoon": (12, 18), "teatime": (15.5, 17.5), "evening": (17, 24), "dinner": (17.5, 21),
    "supper": (17.5, 21), "night": (18, 29), "tonight": (18, 29), "overnight": (21, 30), "bedtime": (21, 24),
    "midnight": (-0.25, 0.5),
}  # fmt: skip
_UNITS = {"second": 1, "sec": 1, "minute": 60, "min": 60, "hour": 3600, "hr": 3600, "day": 86400, "week": 7 * 86400}

_NUMBER = rf"(?:\d{{1,3}}|{'|'.join(_NUMBERS)})"
_UNIT = rf"(?:{'|'.join(_UNITS)})s?"
_COUNT = rf"(?:(?P<half>half)(?: an?)? |(?P<number>{_NUMBER})(?: (?:and a half|of))? )"
_HOUR = r"[01]?\d|2[0-4]|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve"


def _clock(name: str) -> str:
    """A time of day, in groups named after `name`; "2 eggs" and "at one point" are none."""
    minutes = rf"(?:(?:a )?(?P<{name}past>half|quarter|{_NUMBER})(?: minutes?)? (?P<{name}to>past|to|after) )?"
    clock = rf"(?P<{name}hour>{_HOUR})(?:[:.](?P<{name}minute>[0-5]\d))?(?: ?o'?clock)?"
    half = rf"(?: ?(?P<{name}half>am|pm|a\.m\.?|p\.m\.?))?(?![\w:])"
    no_plural = r"(?! (?!this\b|was\b|is\b|yes)[a-z]+s\b)"
    no_count = r"(?! ?%| (?:point|time|moment|of|side|more|other|minute|hour|second)\b)"
    return minutes + clock + half + no_plural + no_count


_BETWEEN = re.compile(rf"\b(?:between|from) {_clock('first')} (?:and|to|until|till) {_clock('second')}")
_AT = re.compile(
    rf"\b(?P<relation>at|around|about|by|before|until|till|after|since)(?: (?:around|about|exactly))? {_clock('')}"
)
_PART = re.compile(
    r"\b(?:(?P<relation>before|until|till|after|since|at|during|over|in|for|around|by|from) )?"
    r"(?:(?P<edge>early|late) )?(?:(?P<which>the|this|last|my|our|that) )?(?:(?P<edge2>early|late) )?"
    rf"(?P<part>{'|'.join(_PARTS)})\b"
)
_AGO = re.compile(rf"\b{_COUNT}(?P<unit>{_UNIT})(?: and a half)? ago\b")
_LATELY = re.compile(rf"\b(?:in |over |during |for |within )?(?:the )?(?:last|past) {_COUNT}?(?P<unit>{_UNIT})\b(?!')")
_JUST = re.compile(r"\b(?:just(?: now)?|a (?:moment|second|minute|little while) ago|recently|right now|lately)\b")
_DAY = re.compile(
    r"\b(?:on |since )?(?:(?P<name>the day before yesterday|yesterday|today|tomorrow|earlier|this week|last week"
    r"|(?:the |last )?weekend)"
    rf"|(?:last |this )?(?P<weekday>{'|'.join(_WEEKDAYS)})"
    r"|(?P<iso>\d{4}-\d\d-\d\d)"
    rf"|(?P<month>{'|'.join(_MONTHS)}) (?:the )?(?P<day>\d{{1,2}})(?:st|nd|rd|th)?"
    rf"|(?:the )?(?P<day2>\d{{1,2}})(?:st|nd|rd|th)?(?: of)? (?P<month2>{'|'.join(_MONTHS)})"
    rf"|(?P<ago>{_NUMBER})(?: of)? (?P<days>days?|weeks?) ago)\b(?:'s)?"
)


@dataclass(frozen=True)
class When:
    """What a question says of its time. focus: the moment it means, where it means one; rest: its other words."""

    start: datetime
    end: datetime
    focus: datetime | None
    rest: str


def time_span(question: str, now_local: datetime) -> tuple[datetime, datetime] | None:
    """The time a question is about, start and end, at latest now; None if it names none, or one to come."""
    when = read_time(question, now_local)
    return (when.start, when.end) if when else None


def read_time(question: str, now_local: datetime) -> When | None:
    """`time_span`, with the moment that is meant and what is left of the question without its words for time."""
    text = " ".join(question.lower().replace("’", "'").replace("-to-", " to ").split())
    found: list[re.Match[str]] = []

    def take(pattern: re.Pattern[str]) -> re.Match[str] | None:
        nonlocal text
        if match := pattern.search(text):
            found.append(match)
            text = f"{text[: match.start()]} · {text[match.end() :]}"  # what stood apart does not become neighbours
        return match

    # A count of days is a day; of hours, a moment. "Just" is only looked for when nothing more exact is said.
    day, lately = take(_DAY), take(_LATELY)
    ago = take(_AGO) if not lately else None
    between = take(_BETWEEN)
    at = take(_AT) if not between else None
    part = take(_PART)
    just = take(_JUST) if not found else None
    if not found:
        return None
    span = _span(now_local, day, lately, ago, between, at, part, just)
    if span is None or span[0].timestamp() >= now_local.timestamp():
        return None
    start, end, focus = span
    return When(start, min(end, now_local, key=datetime.timestamp), focus, " ".join(text.replace("·", " ").split()))


_Match = re.Match[str] | None
_Span = tuple[datetime, datetime, datetime | None]


def _span(
    now: datetime, day: _Match, lately: _Match, ago: _Match, between: _Match, at: _Match, part: _Match, just: _Match
) -> _Span | None:
    if ago:
        past = _duration(ago)
        slack = max(past / 4, timedelta(minutes=2))
        return _earlier(now, past + slack), _earlier(now, past - slack), _earlier(now, past)
    if lately:
        return _earlier(now, _duration(lately)), now, None
    if just:
        return _earlier(now, timedelta(minutes=10)), now, now
    days = _days(day, now) if day else None
    if day and days is None:
        return None
    first_day = days[0] if days else None
    if between:
        first = _moment(between, "first", first_day, part, now, _half_of_first(between))
        second = _moment(between, "second", first.date(), part, now + timedelta(days=1))
        return first, second if second > first else second + timedelta(hours=24 if between["secondhalf"] else 12), None
    if at:
        moment = _moment(at, "", first_day, part, now)
        is_round = not at["minute"] and not at["past"]
        around = (timedelta(minutes=15 if is_round else 8), timedelta(minutes=30 if is_round else 12))
        return _related(at["relation"], moment - around[0], moment + around[1], moment)
    if part:
        return _part(part, first_day, now)
    assert days is not None
    start, end = _midnight(days[0]), _midnight(days[1] + timedelta(days=1))
    return start, now if day and day[0].startswith("since ") else end, None


def _half_of_first(between: re.Match[str]) -> str:
    """Of "between 2 and 3 am" both are meant, of "from 11 to 1 pm" the other half of the day."""
    half = (between["secondhalf"] or "")[:1]
    is_same = _number(between["firsthour"]) % 12 < _number(between["secondhour"]) % 12
    return half if not half or is_same else "ap"[half == "a"]


def _part(match: re.Match[str], day: date | None, now: datetime) -> _Span:
    """A part of a day or a meal: of `day`, or else the last one that has begun."""
    from_h, to_h = _PARTS[match["part"]]
    if edge := match["edge"] or match["edge2"]:
        middle = (from_h + min(to_h, 24)) / 2
        from_h, to_h = (from_h, middle) if edge == "early" else (middle, to_h)
    start_day = day or now.date()
    is_before = match["relation"] in ("before", "until", "till")
    is_today = is_before or match["which"] == "this" or match["part"] == "tonight"
    is_over = not is_today and (_at_hour(start_day, from_h) > now or match["part"] in ("night", "overnight"))
    if day is None and now.hour < 5:  # the day before is not over yet
        start_day -= timedelta(days=_at_hour(start_day, from_h) > now)
    elif day is None and (is_over or match["which"] == "last"):
        start_day -= timedelta(days=1)
    start, end = _at_hour(start_day, from_h), _at_hour(start_day, to_h)
    middle = start + (min(end, _at_hour(start_day, 24)) - start) / 2
    if match["relation"] == "since":
        return start, now, None
    if is_before or match["relation"] == "after":
        return _related(match["relation"], start, end, middle)
    return start, end, None


def _related(relation: str | None, start: datetime, end: datetime, moment: datetime) -> _Span:
    """Before, after or at a moment, within its day."""
    if relation in ("before", "until", "till", "by"):
        return _midnight(moment.date()), moment, moment
    if relation in ("after", "since"):
        return moment, _midnight(moment.date() + timedelta(days=1)), moment if relation == "after" else None
    return start, end, moment


def _moment(match: re.Match[str], name: str, day: date | None, part: _Match, now: datetime, half: str = "") -> datetime:
    """A time of day as people say it: without "am" or "pm" it is the last such time at which they were awake. half: "a"
    or "p" where it is said elsewhere.
    """
    hour, minute = _number(match[f"{name}hour"]), int(match[f"{name}minute"] or 0)
    if past := match[f"{name}past"]:
        minutes = {"half": 30, "quarter": 15}.get(past) or _number(past)
        hour, minute = (hour - 1 or 12, 60 - minutes) if match[f"{name}to"] == "to" else (hour, minutes)
    half = (match[f"{name}half"] or half)[:1]
    if part and not half:
        half = "a" if part["part"] == "morning" or (part["part"] == "night" and hour in (12, 1, 2, 3, 4)) else "p"
    day_moment = _midnight(day or now.date()) + timedelta(minutes=minute)
    is_exact = hour > 12 or hour == 0 or match[f"{name}hour"].startswith("0")
    if is_exact or half:
        if half and hour <= 12:
            hour = hour % 12 + (12 if half == "p" else 0)
        exact = day_moment + timedelta(hours=hour % 24)
        return exact - timedelta(days=1) if day is None and exact > now else exact
    if day is not None:
        return day_moment + timedelta(hours=hour + (12 if hour < 7 else 0))
    times = [day_moment + timedelta(hours=hour % 12 + shift) for shift in (12, 0, -12, -24)]
    return next(t for t in times if t <= now and (6 <= t.hour < 23 or now - t < timedelta(hours=6)))


def _days(match: re.Match[str], now: datetime) -> tuple[date, date] | None:
    """The first and the last day that are meant; None for days to come or that the calendar does not have."""
    today = now.date()
    monday = today - timedelta(days=today.weekday())
    if name := match["name"]:
        if name == "tomorrow":
            return None
        if name.endswith("weekend"):
            saturday = monday + timedelta(days=5 if today.weekday() >= 5 and "last" not in name else -2)
            return saturday, saturday + timedelta(days=1)
        if name.endswith("week"):
            return (monday, today) if name == "this week" else (monday - timedelta(days=7), monday - timedelta(days=1))
        day = today - timedelta(days={"today": 0, "earlier": 0, "yesterday": 1}.get(name, 2))
        return day, day
    if match["weekday"]:
        day = today - timedelta(days=(today.weekday() - _WEEKDAYS.index(match["weekday"]) - 1) % 7 + 1)
        return day, day
    if match["ago"]:
        day = today - _number(match["ago"]) * timedelta(days=7 if match["days"].startswith("week") else 1)
        return day, day
    try:
        if match["iso"]:
            day = date.fromisoformat(match["iso"])
        else:
            month = _MONTHS[match["month"] or match["month2"]]
            day = date(today.year, month, int(match["day"] or match["day2"]))
            day = day if day <= today else day.replace(year=day.year - 1)
    except ValueError:
        return None
    return day, day


def _duration(match: re.Match[str]) -> timedelta:
    seconds = _UNITS[match["unit"].removesuffix("s")]
    number = 0.5 if match["half"] else _number(match["number"] or "one") + (0.5 if "and a half" in match[0] else 0)
    return timedelta(seconds=min(seconds * number, 3660 * 86400))


def _number(word: str) -> int:
    return int(word) if word.isdecimal() else _NUMBERS[word]


def _earlier(now: datetime, by: timedelta) -> datetime:
    """What the clock showed then: summer time may have begun or ended since."""
    return datetime.fromtimestamp(now.timestamp() - by.total_seconds())


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time())


def _at_hour(day: date, hours: float) -> datetime:
    return _midnight(day) + timedelta(hours=hours)
