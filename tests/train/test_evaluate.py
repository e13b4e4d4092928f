"""The scores by hand, and a whole evaluation by its command: clips in, tables and pictures out."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from model.assembly import open_checkpoint
from model.checkpoint import read_checkpoint, write_checkpoint
from model.decoder import append, make_ring
from train.cli import main
from train.clip import Clip
from train.objective import embed_dialogues
from train.scoring.answers import ScoredAnswer, abstains, listed, normalize, same_answer, summarize_answers
from train.scoring.calibration import Trial, best_threshold, reliability, same_between, sweep
from train.scoring.compare import pool, pool_name
from train.scoring.evaluate import ClipResult, Options, run_free
from train.scoring.events import ScoredEvent, count_repeats, match, same_verb, same_words, score, true_events
from train.scoring.freerun import FreeRun, Said, free_run
from train.scoring.gallery import find_mistakes
from train.scoring.lockstep import Job
from train.scoring.report import pair_up, table
from train.scoring.summary import by_group, scores_by, summarize
from train.scoring.teacher import peek
from train.scoring.towers import tower_key

GOLDEN = Path(__file__).parents[1] / "golden"
CHAT = GOLDEN.with_name("golden_proassist") / "i5" / "checkpoint"
FACTS = json.loads((GOLDEN / "golden.json").read_text())
TENSORS = load_file(GOLDEN / "golden.safetensors")


def test_words_that_cannot_be_read_match_the_same_words():
    true = [ScoredEvent(1.0, "", "you add salt"), ScoredEvent(4.0, "cut", "tomato")]
    assert score([ScoredEvent(1.4, "", "you add salt")], true, tolerance_s=0.5, with_object=False).matched == 1
    assert score([ScoredEvent(1.4, "", "you add pepper")], true, tolerance_s=0.5, with_object=False).matched == 0
    assert score([ScoredEvent(4.0, "", "you cut it")], true, tolerance_s=0.5, with_object=False).matched == 0


def test_all_words_include_the_target():
    true = [ScoredEvent(1.0, "put in", "fork", "drawer")]
    said = [ScoredEvent(1.0, "put in", "fork", "basket")]
    assert score(said, true, tolerance_s=1.0, with_object=False).matched == 1
    assert score(said, true, tolerance_s=1.0, with_object=True).matched == 0


def test_the_closest_in_time_go_together():
    said, true = (
        [ScoredEvent(1.0, "cut", "a"), ScoredEvent(1.9, "cut", "a")],
        [ScoredEvent(2.0, "cut", "a"), ScoredEvent(2.6, "cut", "a")],
    )
    assert match(said, true, 1.0, same_words) == {1: 0}
    assert match(said, true, 2.0, same_verb) == {1: 0, 0: 1}


def test_true_events_are_read_from_their_words():
    events = [
        {"time_s": 1.0, "verb": "x", "object": "y", "text": "You pick up the red mug."},
        {"time_s": 2.0, "text": "You add  salt!"},
    ]
    clip = Clip.model_validate({"fps": 2.0, "num_frames": 9, "events": events, "questions": []})
    assert true_events(clip) == [ScoredEvent(1.0, "pick up", "red mug"), ScoredEvent(2.0, "", "you add salt")]
    assert true_events(clip)[0].text == "You pick up the red mug."


def test_repeats_are_claims_made_again_without_an_event_of_their_own():
    a, b = ("cut", "tomato"), ("cut", "leek")
    said = [
        ScoredEvent(1.0, *a),
        ScoredEvent(1.5, *a),
        ScoredEvent(2.0, *b),
        ScoredEvent(20.0, *a),
        ScoredEvent(31.0, *a),
    ]
    assert count_repeats(said, [ScoredEvent(1.0, *a)]) == 1  # 20 s and 31 s are wrong, but long after
    assert count_repeats(said, [ScoredEvent(1.0, *a), ScoredEvent(1.6, *a)]) == 0
    assert count_repeats(said, []) == 1


@pytest.mark.parametrize(
    ("given", "true", "is_same"),
    [
        (" You hold the milk", "You hold the milk.", True),
        ("You hold the mug.", "You hold the milk.", False),
        ("There is the milk, the plate and the red mug on the table.",
         "There is the red mug, the milk and the plate on the table.", True),
        ("There is the milk and the plate on the table.", "There is the plate and the milk on the table.", True),
        ("There is the milk and the plate.", "There is the milk, the plate and the red mug.", False),
        ("The milk, the plate and the jug are there.", "The jug, the milk and the plate are there.", True),
        ("You hold the milk and the plate.", "You see the plate and the milk.", False),
        ("You wash and dry.", "You dry and wash.", False),
    ],
)  # fmt: skip
def test_answers_are_compared_by_what_they_say(given, true, is_same):
    assert same_answer(given, true) is is_same


def test_a_list_is_taken_apart():
    assert listed("There is the milk, the plate and the red mug on the table.") == (
        "there is", frozenset({"milk", "plate", "red mug"}), "on the table")  # fmt: skip
    assert listed("You cut it.") is None
    assert normalize(" You can't  SEE.") == "you cant see"


def test_abstaining_is_due_or_it_is_wrong():
    refusal = "That is not in the picture."
    assert abstains("I can't tell from here.")
    assert abstains("That is not a mug.", refusal) is False
    assert abstains("That is not in the room.", refusal)
    answers = [
        ScoredAnswer(1.0, "Q", "I don't know.", refusal, "unknowable"),
        ScoredAnswer(1.0, "Q", "Two.", refusal, "unknowable"),
        ScoredAnswer(1.0, "Q", "I cannot say.", "Two.", "count"),
        ScoredAnswer(1.0, "Q", "two", "Two.", "count"),
    ]
    summary = summarize_answers(answers)
    assert summary["answers right"] == 0.5
    assert (summary["answers right count"], summary["answers unknowable"]) == (0.5, 2)
    assert (summary["abstentions"], summary["wrong abstentions"]) == (0.5, 0.5)


def test_reliability():
    assert reliability([], []) is None
    sure = reliability([0.95, 0.95, 0.05, 0.05], [True, True, False, False])
    assert sure is not None
    assert (sure.counts[9], sure.counts[0]) == (2, 2)
    assert (sure.ece, sure.brier) == (pytest.approx(0.05), pytest.approx(0.0025))
    off = reliability([1.0] * 4, [True, False, False, False])
    assert off is not None
    assert (off.ece, off.brier, off.shares[9]) == (pytest.approx(0.75), pytest.approx(0.75), 0.25)


def test_the_best_threshold_is_in_the_middle_of_those_that_are_as_good():
    assert best_threshold([Trial(0.4, 0.5, 0.7), Trial(0.6, 0.7, 0.5), Trial(0.8, 0.5, 0.5)]) == 0.4
    assert best_threshold([Trial(t, 0.9, 0.8) for t in (0.2, 0.3, 0.4, 0.5, 0.6)] + [Trial(0.7, 0.9, 0.9)]) == 0.7
    assert best_threshold([Trial(t, 0.9, 0.8) for t in (0.2, 0.3, 0.4)] + [Trial(0.7, 0.1, 0.1)]) == 0.3


def test_a_run_is_the_same_between_the_probabilities_that_it_decided_at():
    run = FreeRun([0.9, 0.3, 0.6, 0.1], [Said(1, None, (), ""), Said(3, "Q?", (), "")])
    assert same_between(run, 0.5) == (0.3, 0.6)
    assert same_between(run, 0.2) == (0.0, 0.6)  # frame 1 spoke for other reasons


def test_a_sweep_gives_what_each_threshold_gives():
    model = open_checkpoint(GOLDEN)
    generator = torch.Generator().manual_seed(0)
    jobs = [Job(2 * torch.randn(6, 10, 48, generator=generator)) for _ in range(2)]
    probs = [
        free_run(model.open_stream(silence_threshold=0), model.connect(j.features_TNF)).silence_probs for j in jobs
    ]
    grid = sorted({round(p + 1e-5, 6) for some in probs for p in some[::3]} | {0.0, 0.5, 0.95})
    for job, by in zip(jobs, sweep(model, jobs, batch=2, grid=grid), strict=True):
        assert sorted(by) == grid
        for threshold, run in by.items():
            alone = free_run(model.open_stream(silence_threshold=threshold), model.connect(job.features_TNF))
            assert run.said == alone.said


def test_streams_that_sum_up_are_run_as_they_would_run():
    model = open_checkpoint(CHAT)
    generator = torch.Generator().manual_seed(0)
    jobs = [
        Job(2 * torch.randn(frames, model.num_frame_tokens, 48, generator=generator), {3: "Q?"}, 0.0)
        for frames in (250, 20)
    ]
    options = Options(window_tokens=1024, when_full="summary")
    runs = run_free(model, jobs, options, "run")
    sliding = run_free(model, jobs, replace(options, when_full="window"), "run")
    assert runs[1].said == sliding[1].said
    assert runs[1].silence_probs == pytest.approx(sliding[1].silence_probs, abs=1e-5), "its window was never full"
    assert runs[0].silence_probs != pytest.approx(sliding[0].silence_probs, abs=1e-5)
    stream = model.open_stream(silence_threshold=0.0, window_tokens=1024, when_full="summary")
    assert runs[0] == free_run(stream, model.connect(jobs[0].features_TNF), jobs[0].questions)


def clip_result(**changes) -> ClipResult:
    said = [
        ScoredEvent(1.5, "cut", "leek", text="You cut the leek."),
        ScoredEvent(6.0, "cut", "fork", text="You cut the fork."),
    ]
    true = [
        ScoredEvent(1.0, "cut", "leek", text="You cut the leek."),
        ScoredEvent(9.0, "wash", "leek", text="You wash the leek."),
    ]
    return replace(ClipResult("clip_0", "a", 2.0, 10.0, said, true, [], [0.9] * 20), **changes)


def test_summaries_by_group():
    quiet = clip_result(group="b", true=[], seconds=1800.0)
    groups = by_group([clip_result(unseen=["fork"]), quiet])
    assert list(groups) == ["all", "a", "b"]
    assert groups["all"]["F1@1s verb"] == groups["a"]["F1@1s verb"] == 0.5
    assert groups["b"]["quiet remarks/h"] == 4.0
    assert "F1@1s verb unseen" not in groups["a"]  # nothing true is about the fork
    assert summarize([clip_result(unseen=["leek"])])["F1@1s all words unseen"] == pytest.approx(2 / 3)
    by_object = scores_by([clip_result()], "object")
    assert (by_object["leek"].matched, by_object["leek"].true, by_object["fork"].said) == (1, 2, 1)


def test_mistakes_and_pairs():
    result = clip_result()
    assert [(m.frame, m.said, m.true) for m in find_mistakes(result)] == [
        (12, "You cut the fork.", "nothing happened"), (19, "nothing", "You wash the leek.")]  # fmt: skip
    assert [(s and s.object, t and t.verb) for s, t in pair_up(result)] == [
        ("leek", "cut"), ("fork", None), (None, "wash")]  # fmt: skip


def test_seeds_are_pooled():
    assert [pool_name(n) for n in ("streaming-0", "tau-2.0", "ohem", "silence-share-0.1")] == [
        "streaming", "tau-2.0", "ohem", "silence-share-0.1"]  # fmt: skip
    pooled = pool({"x-0": {"F": 1.0}, "x-1": {"F": 3.0}, "y": {"F": 5.0}})
    assert pooled == {"x": {"F": (2.0, pytest.approx(2**0.5))}, "y": {"F": (5.0, 0.0)}}
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | ---: |\n| 1 | 2 |"


@pytest.fixture
def clips(tmp_path) -> Path:
    """Two clips of noise: one of the tabletop, one of a user's own, with words alone."""
    folder = tmp_path / "clips"
    folder.mkdir()
    events = [{"time_s": 1.2, "verb": "reach", "object": "milk", "text": "You reach for the milk."}]
    question = {"time_s": 3.9, "question": "What am I doing?", "answer": "You hold the milk.", "kind": "present"}
    metas = [
        {"fps": 2.0, "num_frames": 12, "events": events, "questions": [question], "group": "room", "unseen": ["milk"]},
        {"fps": 2.0, "num_frames": 9, "events": [{"time_s": 2.0, "text": "You add salt."}], "questions": []},
        {"fps": 2.0, "num_frames": 5, "split": "test", "events": [], "questions": []},
    ]
    rng = np.random.default_rng(0)
    for index, meta in enumerate(metas):
        np.save(folder / f"clip_{index}.npy", rng.integers(0, 256, (meta["num_frames"], 96, 96, 3), dtype=np.uint8))
        (folder / f"clip_{index}.json").write_text(json.dumps(meta))
    return folder


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    """A native checkpoint of the golden model, in a run's folder."""
    golden = read_checkpoint(GOLDEN)
    write_checkpoint(golden, tmp_path / "small-0" / "checkpoint")
    report = {"report": {"tokens_per_dialogue": 99.0, "seconds": 90.0}}
    (tmp_path / "small-0" / "fit.json").write_text(json.dumps(report))
    return tmp_path / "small-0" / "checkpoint"


def test_one_checkpoint_is_reported(clips, checkpoint, tmp_path, capsys):
    out = tmp_path / "report"
    assert main(["evaluate", str(checkpoint), "--clips", str(clips), "--out", str(out), "--threshold", "0.3"]) == 0
    assert "| all | 3 |" in capsys.readouterr().out
    report = json.loads((out / "report.json").read_text())
    assert list(report["groups"]) == ["all", "clips", "room", "test"]
    assert report["groups"]["room"]["answers present"] == 1
    assert "F1@1s all words unseen" in report["groups"]["room"]
    assert [len(c["silence_probs"]) for c in report["clips"]] == [12, 9, 5]
    assert len(report["reliability"]["counts"]) == 10
    pictures = ("calibration", "confusion_verbs", "confusion_objects", "timeline", "gallery")
    for name in pictures:
        assert (out / f"{name}.png").stat().st_size > 1000
    text = (out / "report.md").read_text()
    for part in ("silence threshold 0.3", "LM-PPL", "By tolerance", "Answers by kind", "By object"):
        assert part in text


def test_checkpoints_are_calibrated_compared_and_pooled(clips, checkpoint, tmp_path):
    second = tmp_path / "small-1" / "checkpoint"
    shutil.copytree(checkpoint, second)
    out = tmp_path / "report"
    command = [
        "evaluate",
        str(checkpoint),
        str(second),
        "--clips",
        str(clips),
        "--calibrate",
        str(clips),
        "--out",
        str(out),
    ]
    assert main(command) == 0
    report = json.loads((out / "report.json").read_text())
    assert set(report["checkpoints"]) == {"small-0", "small-1"}
    mean, deviation = report["pooled"]["small"]["LM-PPL"]
    assert (mean, deviation) == (pytest.approx(report["checkpoints"]["small-0"]["LM-PPL"]), pytest.approx(0, abs=1e-6))
    assert report["pooled"]["small"]["training minutes"] == [1.5, 0.0]
    assert "| small | 2 |" in (out / "report.md").read_text()
    assert (out / "compare.png").is_file()
    for path in (checkpoint, second):
        name = path.parent.name
        chosen = json.loads((out / name / "report.json").read_text())["threshold"]
        assert read_checkpoint(path).spec.silence_threshold == chosen
        assert (out / name / "threshold.png").is_file()

    again = tmp_path / "again"
    assert main(["compare", str(out / "small-0"), str(out / "small-1"), "--out", str(again)]) == 0
    pooled = json.loads((again / "report.json").read_text())["pooled"]["small"]
    assert pooled["LM-PPL"] == pytest.approx(report["pooled"]["small"]["LM-PPL"])
    assert (again / "compare.png").is_file()


def test_reports_that_cannot_be_compared_are_refused(tmp_path, capsys):
    def write(folder: str, name: str, clips: list[str]) -> str:
        (tmp_path / folder).mkdir()
        content = {"name": name, "groups": {"all": {"LM-PPL": 2.0}}, "clips": [{"clip": clip} for clip in clips]}
        (tmp_path / folder / "report.json").write_text(json.dumps(content))
        return str(tmp_path / folder)

    one, same_name, other_clips = write("a", "x", ["1"]), write("b", "x", ["1"]), write("c", "y", ["1", "2"])
    out = ["--out", str(tmp_path / "out")]
    for folders, said in (
        ([one, same_name], "another report is called x"),
        ([one, other_clips], "y and x were scored on different clips"),
        ([one, str(tmp_path)], "is no checkpoint's report"),
        ([one, write("d", "z", [])], "were scored on different clips"),
        ([one, str(tmp_path / "out")], "is one of the reports"),
    ):
        assert main(["compare", *folders, *out]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_towers_are_told_apart_by_their_weights(checkpoint):
    one = read_checkpoint(checkpoint)
    other = replace(one, connector={}, spec=replace(one.spec, vision=replace(one.spec.vision, grid=0)))
    assert tower_key(one) == tower_key(other)
    tuned, same, different = (replace(one, vision={"w": torch.full((2,), v)}) for v in (1.0, 1.0, 2.0))
    assert tower_key(tuned) == tower_key(same)
    assert len({tower_key(one), tower_key(tuned), tower_key(different)}) == 3


def test_what_cannot_be_evaluated_is_said(clips, checkpoint, tmp_path, capsys):
    def fails(said: str, *arguments: str) -> None:
        assert main(["evaluate", *arguments, "--out", str(tmp_path / "out")]) == 2
        assert said in capsys.readouterr().err

    fails("holds no clips", str(checkpoint), "--clips", str(tmp_path))
    fails("no such folder", str(tmp_path / "none"), "--clips", str(clips))
    fails("two checkpoints are called small-0", str(checkpoint), str(checkpoint), "--clips", str(clips))
    fails("threshold = 1.5", str(checkpoint), "--clips", str(clips), "--threshold", "1.5")
    np.save(clips / "clip_0.npy", np.zeros((12, 32, 32, 3), dtype=np.uint8))
    fails("sees squares of 96 pixels", str(checkpoint), "--clips", str(clips))
    meta = json.loads((clips / "clip_1.json").read_text())
    (clips / "clip_1.json").write_text(json.dumps({**meta, "snapshots": True}))
    fails("single moments", str(checkpoint), "--clips", str(clips))


@pytest.mark.parametrize("index", range(len(FACTS["conversations"])))
def test_looking_ahead_leaves_the_dialogue_as_it_was(index):
    """The same logits as a whole pass over what was seen and what might have been, in any order."""
    model = open_checkpoint(GOLDEN)
    facts, features = FACTS["conversations"][index], TENSORS[f"conv{index}.features"]
    ids = facts["input_ids"]

    def embed(some: list[int]) -> torch.Tensor:
        frames = features[: some.count(model.grammar.placeholder_id) // 10]
        ids_1T = torch.tensor([some])
        return embed_dialogues(model.decoder, model.connector, ids_1T, [frames], model.grammar.placeholder_id)[0]

    ring = make_ring(model.decoder, 2 * len(ids))
    append(model.decoder, ring, embed(ids), [len(ids) - 1])
    for num_tokens in (len(ids) - 3, len(ids) // 2, len(ids)):
        more = [i for i in ids[: num_tokens // 2] if i != model.grammar.placeholder_id]
        whole = model.decoder(inputs_embeds=torch.cat((embed(ids)[:num_tokens], embed(more)))[None]).logits[0]
        peeked = peek(model.decoder, ring, num_tokens, embed(more), range(len(more)))
        torch.testing.assert_close(peeked, whole[num_tokens:], atol=1e-4, rtol=1e-4)
        assert ring.num_tokens == len(ids)
