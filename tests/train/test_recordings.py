"""What users write about their videos: subtitles, lists, journals with corrections, and every mistake in them."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from train.clip import Clip, ClipEvent
from train.dialogue import annotate
from train.recordings.corrections import Correction, correct, read_correction
from train.recordings.journal import KeptLine, apply_corrections, read_journal
from train.recordings.record import RecordingsError
from train.recordings.source import read_source
from train.recordings.subtitles import read_subtitles

WALK_THROUGH = (Path(__file__).parents[2] / "train" / "OWN_RECORDINGS.md").read_text(encoding="utf-8")


def said(spoken) -> list[tuple]:
    return [(s.time_s, s.question, s.text) if s.question else (s.time_s, s.text) for s in spoken]


def mistakes(read, *arguments) -> list[str]:
    with pytest.raises(RecordingsError) as caught:
        read(*arguments)
    assert caught.value.exit_code == 2
    return str(caught.value).splitlines()


# Subtitles

SRT = """\ufeff1
00:00:05,830 --> 00:00:07,000
<i>You reach for</i>
the {\\an8}<font color="#ff0000">milk</font>.

2
00:00:09,000 --> 00:00:30,000
You pick up the milk.

3
00:00:08,500 --> 00:00:20,000
Q: What am I
holding?
A: The milk &amp; the cup.

4
00:00:21,000 --> 00:00:22,000

5
0:0:23.5 --> 0:0:24.0
User: What now? Assistant: You wait: a little.
"""

VTT = """WEBVTT - kitchen

STYLE
::cue { color: red }

NOTE the first
of two

intro
00:01.500 --> 00:03.000 align:start
<v Ann>You <c.loud>cut</c> <00:01.900>it.</v>

second
01:00:00.250 --> 01:00:01.000
- You wait.

NOTE the end
"""

ASS = """[Script Info]
ScriptType: v4.00+

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Comment: 0,0:00:01.00,0:00:02.00,Default,,0,0,0,,not to be said
Dialogue: 0,0:00:03.00,0:00:04.00,Default,,0,0,0,,{\\b1}You{\\b0} stir,\\Nslowly.
"""


def test_cues_of_srt_lose_their_markup_and_come_in_order_of_time(tmp_path):
    (tmp_path / "a.srt").write_text(SRT, encoding="utf-8")
    spoken = read_subtitles(tmp_path / "a.srt")
    assert said(spoken) == [
        (5.83, "You reach for the milk."),
        (8.5, "What am I holding?", "The milk & the cup."),
        (9.0, "You pick up the milk."),
        (23.5, "What now?", "You wait: a little."),
    ]
    assert [s.where for s in spoken] == [f"{tmp_path}/a.srt:{line}" for line in (2, 11, 7, 20)]


def test_vtt_has_notes_styles_and_names_of_cues_that_nobody_says(tmp_path):
    (tmp_path / "a.vtt").write_text(VTT.replace("\n", "\r\n"), encoding="utf-8")
    assert said(read_subtitles(tmp_path / "a.vtt")) == [(1.5, "You cut it."), (3600.25, "- You wait.")]


def test_ass_is_read_without_its_comments(tmp_path):
    (tmp_path / "a.ass").write_text(ASS, encoding="utf-8")
    assert said(read_subtitles(tmp_path / "a.ass")) == [(3.0, "You stir, slowly.")]
    assert read_subtitles(tmp_path / "a.ass")[0].where.endswith("a.ass:7")


def test_every_mistake_in_subtitles_is_named_with_its_line(tmp_path):
    path = tmp_path / "a.srt"
    path.write_text("1\n00:01 --> 00:02\nx\n\n2\n00:00:05,0 --> 00:00:06,0\ny\n\nlost\n\n-0:0:1,0 --> 0:0:2,0\nz\n")
    time, lost, negative = mistakes(read_subtitles, path)
    assert time.startswith(f"{path}:2: '00:01 --> 00:02' is no time of a cue; write 00:00:12,500")
    assert lost.startswith(f"{path}:9: 'lost' belongs to no cue")
    assert negative.startswith(f"{path}:11:")
    path.write_text(
        "1\n00:00:05,0 --> 00:00:04,0\ny\n\n"
        "2\n00:00:06,0 --> 00:00:07,0\nQ: why?\n\n"
        "3\n00:00:08,0 --> 00:00:09,0\nA: so\n"
    )
    late, half, orphan = mistakes(read_subtitles, path)
    assert late.startswith(f"{path}:2: the cue starts at 5 s, after its end at 4 s")
    assert half.startswith(f"{path}:6: 'Q: why?' is half a question")
    assert orphan.startswith(f"{path}:10: 'A: so' answers no question")
    path.write_bytes("1\n00:00:05,0 --> 00:00:06,0\nCafé\n".encode("latin-1"))
    assert mistakes(read_subtitles, path) == [f"{path}: is not UTF-8 at byte 31; save it as UTF-8"]


def test_the_examples_of_the_walk_through_are_understood(tmp_path):
    srt, rows, journal = (
        next(block for block in WALK_THROUGH.split("```") if mark in block)
        for mark in ("-->", '"question"', '"kind": "query"')
    )
    (tmp_path / "breakfast.mp4").touch()
    for name, text in (("breakfast.srt", srt), ("list.jsonl", rows), ("breakfast.jsonl", journal)):
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert [s.time_s for s in read_subtitles(tmp_path / "breakfast.srt")] == [5.8, 7.7, 12.0, 14.4]
    assert [len(r.spoken) for r in read_source(tmp_path / "list.jsonl").recordings] == [2]
    assert said(read_source(tmp_path / "breakfast.jsonl").recordings[0].spoken) == [(13.95, SALT)]


# Folders and lists


def test_a_folder_pairs_videos_with_subtitles_and_says_what_is_left_over(tmp_path):
    for name in ("a.MOV", "a.srt", "b.mp4", "c.vtt", "notes.txt", ".hidden.mp4"):
        (tmp_path / name).write_text("WEBVTT" if name.endswith("vtt") else "")
    reading = read_source(tmp_path)
    assert [(r.video.name, r.spoken) for r in reading.recordings] == [("a.MOV", ())]
    left_out, alone = reading.warnings
    assert left_out.startswith(f"{tmp_path}/b.mp4: has no b.srt")
    assert alone.startswith(f"{tmp_path}/c.vtt: has no video")
    (tmp_path / "a.vtt").write_text("WEBVTT")
    assert "a.MOV, a.srt, a.vtt: which belongs to which?" in mistakes(read_source, tmp_path)[0]


@pytest.mark.parametrize(
    ("name", "said"), [("gone", "is not there"), ("notes.txt", "must be a folder"), ("empty", "holds nothing")]
)
def test_a_source_that_is_none_is_named(tmp_path, name, said):
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    assert mistakes(read_source, tmp_path / name)[0].startswith(f"{tmp_path / name}: {said}")


def test_a_list_is_read_by_video(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).touch()
    lines = [
        {"video": "b.mp4", "time": 4, "text": "You  stir."},
        {"video": "a.mp4", "time": 1.5, "question": "What is it?", "answer": "Salt."},
        {"video": "b.mp4", "time": 2.25, "text": "You cut."},
    ]
    path = tmp_path / "list.jsonl"
    path.write_text("\n\n".join(map(json.dumps, lines)))
    b, a = read_source(path).recordings
    assert (b.video, said(b.spoken)) == (tmp_path / "b.mp4", [(2.25, "You cut."), (4.0, "You stir.")])
    assert (a.video, said(a.spoken)) == (tmp_path / "a.mp4", [(1.5, "What is it?", "Salt.")])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"video": "a.mp4", "time": 1, ', "is no JSON: "),
        ("[1]", "'[1]' is no object"),
        ('{"video": "b.mp4", "time": 1, "text": "x"}', "/b.mp4 is not there"),
        ('{"time": 1, "text": "x"}', '"video" is null'),
        ('{"video": "a.mp4", "time": -0.5, "text": "x"}', '"time" is -0.5; must not be before'),
        ('{"video": "a.mp4", "time": "0:12", "text": "x"}', '"time" is "0:12"; write seconds'),
        ('{"video": "a.mp4", "time": true, "text": "x"}', '"time" is true; write seconds'),
        ('{"video": "a.mp4", "time": NaN, "text": "x"}', '"time" is NaN; write seconds'),
        ('{"video": "a.mp4", "text": "x"}', '"time" is null; write seconds'),
        ('{"video": "a.mp4", "time": 1, "text": " "}', '"text" is " "; write a text'),
        ('{"video": "a.mp4", "time": 1, "text": 7}', '"text" is 7; write a text'),
        ('{"video": "a.mp4", "time": 1}', 'has neither "text" nor "question"'),
        ('{"video": "a.mp4", "time": 1, "text": "x", "answer": "y"}', 'has both "text" and a question'),
        ('{"video": "a.mp4", "time": 1, "question": "x"}', '"answer" is null'),
    ],
)
def test_every_mistake_in_a_list_is_named_with_its_line(tmp_path, line, said):
    (tmp_path / "a.mp4").touch()
    path = tmp_path / "list.jsonl"
    good = '{"video": "a.mp4", "time": 1, "text": "x"}'
    path.write_text(f"{good}\n\n{line}\n{good}\n{line}\n")
    found = mistakes(read_source, path)
    assert [message.startswith(f"{path}:{number}: ") for message, number in zip(found, (3, 5), strict=True)] == [
        True
    ] * 2
    assert said in found[0]


def test_a_flood_of_mistakes_is_cut_short(tmp_path):
    (tmp_path / "list.jsonl").write_text("{\n" * 300)
    found = mistakes(read_source, tmp_path / "list.jsonl")
    assert len(found) == 21
    assert found[-1] == "… and 280 more"


# Corrections

RIGHTS = """
no, that was salt|No, it's the salt.|that's wrong, it was the salt|not the sugar, the salt|No. Salt.|nope, salt
no, salt, not sugar|no that was salt|No, the salt!|salt, not the sugar|the salt, not the sugar
it was the salt, not the sugar|no — salt|it's not the sugar, it's the salt|that's not sugar it's salt
that isn't the sugar, that's the salt|not sugar but salt|the salt instead of the sugar
it was the salt and not the sugar|actually, that was the salt|Actually it was salt|no, I picked up the salt
No, I’m holding the salt|you mean the salt, not the sugar|no, you mean the salt|wrong, it was salt
That is wrong. It was the salt.|no, no, that was the salt|No, that was actually the salt, please
sorry, no, that was salt|no that's wrong it was the salt|no, that was the salt that I bought|you're wrong, it's salt
no, I think that was the salt|no, it should have been the salt|oh no, that was salt|not quite, it was the salt
no it wasn't, it was the salt|that's incorrect: it was the salt|That was not the sugar. It was the salt.
no, it was the salt this time
"""
TAKEN_BACK = """
no|No.|nope|no no no|that's wrong|That is wrong.|that's not right|wrong|nothing happened|no, nothing happened
nothing|I didn't do anything|no, I didn't|No, that didn't happen|that did not happen|you're wrong
that's not the sugar|incorrect|no, that's not the sugar|not the sugar|it isn't the sugar|that's not true
there was nothing|no, not that|that isn't right
"""
NO_CORRECTIONS = """
What am I holding?|no thanks|No, thank you|no problem|no idea|what is on the table|Is that the salt?|no, what's next
how many are there|that's great|no, that's fine|not now|not bad, that's great|not yet|it's cold|that was good|stop
it was the salt|tell me what you see|No, wasn't that the salt?|the salt|I am holding the salt|yes|yes, that was salt
no, wait|ok, that was the salt|remember that this is the salt|no one is here|no, that's right|salt, please
what is not salt
"""


def promised(right: str | None) -> list[str]:
    """The phrases in the table of the walk-through that put a thing right; None: that take a remark back."""
    rows = [row for row in WALK_THROUGH.splitlines() if row.startswith('| "')]
    chosen = [rows[4]] if right is None else rows[:3]
    return [phrase for row in chosen for phrase in re.findall('"(.*?)"', row.split("|")[1])]


def phrases(table: str) -> list[str]:
    return [phrase for line in table.strip().splitlines() for phrase in line.split("|")]


@pytest.mark.parametrize("words", [*phrases(RIGHTS), *promised("salt")])
def test_a_thing_is_put_right(words):
    correction = read_correction(words)
    assert correction is not None
    assert correct("You pick up the sugar.", correction) == "You pick up the salt."


@pytest.mark.parametrize("words", [*phrases(TAKEN_BACK), *promised(None)])
def test_a_remark_is_taken_back(words):
    correction = read_correction(words)
    assert correction is not None
    assert (correction.right, correction.is_clear) == (None, True)


@pytest.mark.parametrize("words", phrases(NO_CORRECTIONS))
def test_questions_and_small_talk_correct_nothing(words):
    assert read_correction(words) is None


@pytest.mark.parametrize("words", ["no, I put it down", "No, you should have waited", "wrong, they went away"])
def test_what_says_no_and_is_not_understood_is_known_as_such(words):
    assert read_correction(words) == Correction(None, is_clear=False)


@pytest.mark.parametrize(
    ("remark", "words", "right"),
    [
        ("You put the salt on the table.", "not the salt, the pepper", "You put the pepper on the table."),
        ("You put the salt on the table.", "no, that was the shelf", "You put the salt on the shelf."),
        ("You pick up the yellow moka pot.", "not the moka pot, the coffee maker", "You pick up the coffee maker."),
        ("You put the lid on salt.", "not salt, sugar", "You put the lid on sugar."),
        ("You hold an orange.", "no, a banana", "You hold a banana."),
        ("A knife lies there", "no, an apple", "An apple"),
        ("You pick up the red mug!", "no, the blue one", "You pick up the blue mug!"),
        ("You pick up the bowl.", "No, the TV remote.", "You pick up the TV remote."),
        ("You wait.", "no, that was salt", None),
        ("You pick up the salt.", "no, that was the salt", None),
    ],
)
def test_articles_and_full_stops_stay(remark, words, right):
    correction = read_correction(words)
    assert correction is not None
    assert correct(remark, correction) == right


WORDS = ["no", "not", "the", "it's", "that", "was", "salt", "sugar", "I", ".", ",", "?", "actually", "wrong", "but"]


@settings(max_examples=300, deadline=None)
@given(words=st.lists(st.sampled_from(WORDS)).map(" ".join))
def test_no_words_break_the_reading_of_corrections(words):
    correction = read_correction(words)
    if correction and (changed := correct("You pick up the sugar.", correction)):
        assert changed.startswith("You pick up the ")
        assert changed.endswith(".")
        assert changed != "You pick up the sugar."


# Journals


def lines(*turns) -> list[KeptLine]:
    return [KeptLine(time_s, kind, text, f"j:{n}") for n, (time_s, kind, text) in enumerate(turns, 1)]


SUGAR, SALT = "You pick up the sugar.", "You pick up the salt."


def learned(*turns) -> list[tuple]:
    return said(apply_corrections(lines(*turns))[0])


def test_a_correction_changes_the_remark_before_it_and_is_not_learned():
    turns = [
        (3.0, "remark", "You open the jar."),
        (10.0, "remark", SUGAR),
        (15.0, "query", "no, that was salt"),
        (15.0, "answer", "You hold the sugar."),
        (20.0, "query", "What do I hold?"),
        (20.5, "answer", "You hold the salt."),
    ]
    assert learned(*turns) == [
        (2.95, "You open the jar."),
        (9.95, SALT),
        (20.0, "What do I hold?", "You hold the salt."),
    ]


def test_a_correction_may_be_added_at_the_end_of_the_journal():
    turns = [(10.0, "remark", SUGAR), (30.0, "remark", "You open the jar."), (15.0, "query", "no, that was salt")]
    assert learned(*turns) == [(9.95, SALT), (29.95, "You open the jar.")]


def test_answers_can_be_corrected_too():
    turns = [(5.0, "query", "What do I hold?"), (5.0, "answer", "The sugar."), (9.0, "query", "No, the salt.")]
    assert learned(*turns) == [(5.0, "What do I hold?", "The salt.")]
    assert learned(*turns[:2], (9.0, "query", "that's wrong")) == []


def test_the_last_correction_counts_and_a_denied_remark_can_be_put_right():
    remark = (10.0, "remark", SUGAR)
    assert learned(remark, (12.0, "query", "no, flour"), (14.0, "query", "no, the salt")) == [(9.95, SALT)]
    assert learned(remark, (12.0, "query", "No!")) == []
    assert learned(remark, (12.0, "query", "No!"), (13.0, "query", "It was the salt.")) == [(9.95, SALT)]


def test_the_remark_that_names_the_wrong_thing_is_the_one_that_is_meant():
    turns = [(10.0, "remark", SUGAR), (14.0, "remark", "You open the jar."), (16.0, "query", "not the sugar, the salt")]
    assert learned(*turns) == [(9.95, SALT), (13.95, "You open the jar.")]


def test_a_correction_comes_within_twenty_seconds_or_says_so():
    in_time, _ = apply_corrections(lines((1.0, "remark", SUGAR), (21.0, "query", "no, salt")))
    assert said(in_time) == [(0.95, SALT)]
    late, warnings = apply_corrections(lines((1.0, "remark", SUGAR), (21.1, "query", "no, salt")))
    assert said(late) == [(0.95, SUGAR)]
    assert warnings == ["j:2: 'no, salt' corrects nothing that was said in the 20 s before"]


def test_what_is_not_understood_leaves_the_remark_out_and_says_so():
    spoken, warnings = apply_corrections(lines((1.0, "remark", SUGAR), (3.0, "query", "no, I put it down")))
    assert spoken == ()
    assert warnings == [
        "j:2: 'no, I put it down' is not understood as a correction of 'You pick up the sugar.', which is left out"
    ]


def test_a_question_without_its_answer_is_not_learned_nor_is_its_answer_given_to_another():
    turns = [(1.0, "query", "What is it?"), (2.0, "query", "What now?"), (2.0, "answer", "You wait.")]
    assert learned(*turns) == [(2.0, "What now?", "You wait.")]


def test_a_journal_is_known_by_its_kinds_and_finds_its_video(tmp_path):
    for name in ("day.MP4", "other.mp4"):
        (tmp_path / name).touch()
    path = tmp_path / "day.jsonl"
    rows = [
        {"time": 0.0, "kind": "frame", "text": None, "silence_prob": 0.9, "latency_ms": 3.0, "index": 0},
        {"time": 1.0, "kind": "remark", "text": SUGAR, "silence_prob": 0.1, "latency_ms": 3.0},
        {"time": 4.0, "kind": "remark", "text": SUGAR, "video": "other.mp4"},
        {"time": 5.0, "kind": "query", "text": "no, salt", "silence_prob": None, "latency_ms": None},
        {"time": 9.0, "kind": "end", "text": None, "frames": 18},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    day, other = read_source(path).recordings
    assert (day.video.name, said(day.spoken)) == ("day.MP4", [(0.95, SALT)])
    assert (other.video.name, said(other.spoken)) == ("other.mp4", [(3.95, SUGAR)])
    (tmp_path / "day.MP4").unlink()
    path.write_text('{"time": 1, "kind": "remark", "text": "x"}\n{"time": 1, "kind": "thought", "text": "x"}\n')
    no_video, kind = mistakes(read_journal, path)
    assert no_video.startswith(f"{path}:1: names no video, and there is none beside it")
    assert kind.startswith(f"{path}:2: \"kind\" is 'thought'; must be one of remark, query, answer, frame, end")


def test_a_remark_of_a_journal_is_said_at_the_same_frame_again():
    for fps in (1.0, 2.0, 3.0, 5.0, 10.0):
        for frame in (1, 2, 7, 40):
            turns = lines((round(frame / fps, 3), "remark", SUGAR), (round(frame / fps, 3), "query", "What is it?"))
            spoken = apply_corrections(turns)[0]
            events = [ClipEvent(time_s=s.time_s, text=s.text) for s in spoken]
            annotation = annotate(Clip(fps=fps, num_frames=99, events=events, questions=[]))
            assert [u.frame for u in annotation.utterances] == [frame]
