"""The training slice: dialogues, batches, the fit, and the scores, on models and clips of a size for tests."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from hypothesis import given, settings
from hypothesis import strategies as st

from model.assembly import open_checkpoint
from model.checkpoint import LoraSpec, read_checkpoint, write_checkpoint
from model.connector import make_connector
from model.decoder import open_decoder
from model.grammar import IGNORE_ID, AssistantTurn, StreamTurn, UserTurn
from model.vision import VisionSpec, open_vision
from train.augment import augment
from train.cli import main
from train.clip import Clip, ClipEvent, ClipQuestion
from train.dialogue import Annotation, Utterance, annotate, annotate_for_study, slide, to_turns
from train.features import encode_frames
from train.fit import fit
from train.grounding import cell_targets
from train.objective import embed_dialogues, streaming_loss
from train.recipe import FitPart, ObjectivePart, RecipeError, SamplesPart, read_recipe
from train.samples import Sampler, collate
from train.schedule import cosine
from train.scoring.events import Score, ScoredEvent, parse_remark, score
from train.scoring.metrics import stream_metrics
from train.trainable import StreamingModel

GOLDEN = Path(__file__).parents[1] / "golden"
RECIPES = Path(__file__).parents[2] / "train" / "recipes"
CLIP = Clip(
    fps=2.0,
    num_frames=12,
    events=[
        ClipEvent(time_s=1.2, text="You reach for the milk."),
        ClipEvent(time_s=2.5, text="You pick up the milk."),
        ClipEvent(time_s=9.0, text="You put down the milk."),
    ],
    questions=[ClipQuestion(time_s=3.9, question="What am I doing?", answer="You hold the milk.")],
)


def test_remarks_come_after_their_event_and_questions_before_their_time():
    annotation = annotate(CLIP)
    assert [(u.frame, u.question) for u in annotation.utterances] == [(3, None), (6, None), (7, "What am I doing?")]
    assert to_turns(annotation) == [
        StreamTurn(4, True),
        AssistantTurn("You reach for the milk."),
        StreamTurn(3, True),
        AssistantTurn("You pick up the milk."),
        StreamTurn(1, 0),
        UserTurn("What am I doing?"),
        AssistantTurn("You hold the milk."),
        StreamTurn(4),
    ]


utterances = st.lists(st.tuples(st.integers(0, 39), st.booleans()), max_size=8, unique_by=lambda pair: pair).map(
    lambda pairs: tuple(Utterance(f, f"at {f}", "Q?" if q else None) for f, q in sorted(pairs))
)


@settings(max_examples=60, deadline=None)
@given(utterances=utterances, seed=st.integers(0, 999))
def test_every_frame_is_shown_once_and_sliding_keeps_what_is_left_in_place(utterances, seed):
    annotation = Annotation(40, utterances)
    turns = to_turns(annotation)
    assert sum(t.num_frames for t in turns if isinstance(t, StreamTurn)) == 40
    assert [t.text for t in turns if isinstance(t, AssistantTurn)] == [u.text for u in utterances]

    slid, kept = slide(annotation, random.Random(seed))
    assert kept[0] == 0
    assert len(kept) == slid.num_frames == sum(t.num_frames for t in to_turns(slid) if isinstance(t, StreamTurn))
    for u in slid.utterances:
        assert u.text == f"at {kept[u.frame]}"


def make_sampler(annotations, features, grammar, *, batch_clips: int, seed: int = 0, objective=None, **samples):
    return Sampler(
        [one if isinstance(one, list) else [one] for one in annotations],
        features,
        grammar,
        batch_clips=batch_clips,
        samples=SamplesPart(**{"slide_prob": 0.0, **samples}),
        objective=objective or ObjectivePart(),
        robust={"black": torch.zeros(4, 10, 48)},
        seed=seed,
    )


def test_batches_depend_on_seed_and_step_alone():
    model = open_checkpoint(GOLDEN)
    annotations = [replace(annotate(CLIP), num_frames=12 + i) for i in range(7)]
    features = [[torch.randn(a.num_frames, 10, 48) for _ in range(2)] for a in annotations]

    def sampler(seed: int) -> Sampler:
        return make_sampler(annotations, features, model.grammar, batch_clips=3, slide_prob=0.5, seed=seed)

    for step in (0, 5, 11):
        one, two = sampler(1).batch(step), sampler(1).batch(step)
        assert torch.equal(one.input_ids_BT, two.input_ids_BT)
        assert torch.equal(one.features_MNF, two.features_MNF)
        assert int((one.input_ids_BT == model.grammar.placeholder_id).sum()) == len(one.features_MNF) * 10
    assert not torch.equal(sampler(1).batch(0).input_ids_BT, sampler(2).batch(0).input_ids_BT)


def test_a_chats_answers_stand_behind_the_frame_after_their_question():
    assert to_turns(annotate(CLIP), answers_after_frame=True) == [
        StreamTurn(4, True),
        AssistantTurn("You reach for the milk."),
        StreamTurn(3, True),
        AssistantTurn("You pick up the milk."),
        StreamTurn(1, 0),
        UserTurn("What am I doing?"),
        StreamTurn(1, True),
        AssistantTurn("You hold the milk."),
        StreamTurn(3),
    ]
    late = CLIP.model_copy(update={"events": [], "num_frames": 8})
    assert to_turns(annotate(late), answers_after_frame=True)[-2:] == [
        UserTurn("What am I doing?"),
        AssistantTurn("You hold the milk."),
    ]


def test_each_epoch_asks_one_set_of_a_clips_questions():
    model = open_checkpoint(GOLDEN)
    sets = [[ClipQuestion(time_s=2.0 + i, question=f"What is {i}?", answer=f"It is {i}.")] for i in range(3)]
    annotations = annotate_for_study(CLIP.model_copy(update={"questions": sets[0], "study_questions": sets[1:]}))
    features = [torch.zeros(annotations[0].num_frames, 10, 48)]
    sampler = make_sampler([annotations], [features], model.grammar, batch_clips=1)
    asked = set()
    for step in range(20):
        text = model.grammar.text(sampler.batch(step).input_ids_BT[0].tolist())
        in_text = [i for i in range(3) if f"It is {i}." in text]
        assert len(in_text) == 1
        asked.update(in_text)
    assert asked == {0, 1, 2}


def test_training_forward_equals_running_forward():
    """The loss of a padded batch, computed at labelled positions only, is that of whole dialogues by themselves."""
    model = open_checkpoint(GOLDEN)
    short, long = annotate(CLIP), replace(annotate(CLIP), num_frames=19)
    samples = [(to_turns(a), torch.randn(a.num_frames, 10, 48)) for a in (short, long)]
    training = StreamingModel(model.decoder, model.connector, model.grammar, ObjectivePart(tau=2.0))
    summed, num_learned, _ = training(collate(samples, model.grammar))
    both = summed / num_learned
    total, count = 0.0, 0
    for sample in samples:
        batch = collate([sample], model.grammar)
        embeds = embed_dialogues(
            model.decoder, model.connector, batch.input_ids_BT, [batch.features_MNF], model.grammar.placeholder_id
        )
        logits = model.decoder(inputs_embeds=embeds).logits
        labelled = int((batch.labels_BT != IGNORE_ID).sum())
        total += float(streaming_loss(logits, batch.labels_BT, batch.decides_BT, 2.0)) * labelled
        count += labelled
    assert float(both) == pytest.approx(total / count, abs=1e-5)


def test_a_fit_learns_when_to_speak_and_its_checkpoint_speaks(tmp_path):
    """Three feature patterns; the second calls for a remark. 60 steps on the golden shape; free-running afterwards."""
    golden = read_checkpoint(GOLDEN)
    torch.manual_seed(0)
    patterns = torch.randn(3, 10, 48) * 2
    annotations, features = [], []
    for clip in range(12):
        at = 3 + clip % 5
        annotations.append(Annotation(10, (Utterance(at, "You cut the tomato."),)))
        kinds = [0] * at + [1] + [2] * (9 - at)
        features.append([patterns[kinds] + 0.1 * torch.randn(10, 10, 48)])
    decoder = open_decoder(golden.spec.decoder, dtype=torch.float32, attention="sdpa")
    grammar = open_checkpoint(GOLDEN).grammar
    lora = LoraSpec(8, 16, r"model.*(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)$")
    sampler = make_sampler(annotations, features, grammar, batch_clips=6)
    part = FitPart(steps=60, batch_clips=6, learning_rate=5e-3, connector_learning_rate=5e-3, workers=0)
    fitted = fit(decoder, make_connector(48, 64), lora, grammar, sampler, part, ObjectivePart(),
                 accelerator=Accelerator(cpu=True))  # fmt: skip
    assert sum(fitted.losses[-5:]) < 0.2 * sum(fitted.losses[:5])

    write_checkpoint(replace(golden, spec=replace(golden.spec, lora=lora), connector=fitted.connector,
                             lora=fitted.decoder), tmp_path)  # fmt: skip
    model = open_checkpoint(tmp_path)
    stream = model.open_stream(silence_threshold=0.5)
    decisions = stream.observe_many(model.connect(features[0][0]))
    assert [d.speaks for d in decisions] == [False] * 3 + [True]
    assert "".join(stream.reply()).strip() == "You cut the tomato."


def test_learning_rate_warms_up_and_falls_to_nothing():
    assert cosine(0.0, 0.1) == 0.0
    assert cosine(0.1, 0.1) == 1.0
    assert cosine(1.0, 0.1) == pytest.approx(0.0)


def test_scores_count_each_event_and_each_remark_once():
    true = [ScoredEvent(1.0, "reach", "milk"), ScoredEvent(3.0, "pick up", "milk")]
    said = [ScoredEvent(1.5, "reach", "milk"), ScoredEvent(1.6, "reach", "milk"), ScoredEvent(3.9, "pick up", "plate")]
    by_verb = score(said, true, tolerance_s=1.0, with_object=False)
    assert by_verb == Score(matched=2, said=3, true=2)
    assert by_verb.f1 == pytest.approx(0.8)
    assert score(said, true, tolerance_s=1.0, with_object=True) == Score(1, 3, 2)
    assert score(said, true, tolerance_s=0.4, with_object=False) == Score(0, 3, 2)
    assert Score().f1 == 1.0


def test_remarks_are_read_back():
    assert parse_remark(" You pick up the red mug.", 2.0) == ScoredEvent(2.0, "pick up", "red mug")
    assert parse_remark("Hello.", 2.0).verb == ""


def test_cells_hold_the_objects_whose_centres_they_hold():
    uv = torch.tensor([[[0.1, 0.1], [0.9, 0.5], [1.2, 0.5]]])
    targets = cell_targets(uv, torch.tensor([[2, 0, 1]]), 4, 3)
    assert targets.nonzero().tolist() == [[0, 0, 2], [0, 5, 0]]


def test_points_move_with_the_picture():
    frames = torch.zeros(8, 3, 64, 64, dtype=torch.uint8)
    frames[:, :, 28:36, 40:48] = 255
    uv = torch.tensor([[[44 / 64, 32 / 64]]]).repeat(8, 1, 1)
    changed, moved = augment(frames, uv, torch.Generator().manual_seed(0))
    assert moved is not None
    for picture, point in zip(changed, moved[:, 0], strict=True):
        rows, columns = torch.nonzero(picture.float().mean(0) > 128, as_tuple=True)
        assert float(point[0]) * 64 == pytest.approx(float(columns.float().mean()) + 0.5, abs=1.0)
        assert float(point[1]) * 64 == pytest.approx(float(rows.float().mean()) + 0.5, abs=1.0)


def test_features_do_not_depend_on_how_frames_are_batched():
    tower = open_vision(VisionSpec("timm", "tf_efficientnet_lite0", "", 64, layer_norm=True))
    frames = torch.randint(0, 256, (70, 3, 64, 64), dtype=torch.uint8)
    together = encode_frames(tower, frames)
    assert together.shape == (70, 10, 1280)
    torch.testing.assert_close(encode_frames(tower, frames[65:]), together[65:], atol=1e-4, rtol=1e-3)


def test_recipes_say_everything_that_is_wrong_at_once(tmp_path):
    bad = tmp_path / "bad.toml"
    bad.write_text('fps = "two"\ncolour = 1\n[fit]\nsteps = 1.5\nseed = -1\n[vision]\nname = 3\n')
    with pytest.raises(RecipeError) as caught:
        read_recipe(bad)
    message = str(caught.value)
    for part in ("fps = 'two'", "colour: unknown key", "fit.steps = 1.5", "fit.seed = -1", "vision.name = 3"):
        assert part in message
    assert main(["fit", str(bad), "--run", str(tmp_path)]) == 2


@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("*.toml")), ids=lambda p: p.stem)
def test_shipped_recipes_are_valid(recipe):
    assert read_recipe(recipe).name


def test_turns_that_a_question_ends_can_be_left_out_of_the_metrics():
    """A model that is always silent is late for the remark, and rightly silent before the question."""
    grammar = open_checkpoint(GOLDEN).grammar
    turns = [StreamTurn(4), AssistantTurn("You cut."), StreamTurn(6, 5), UserTurn("What?"), AssistantTurn("You cut."),
             StreamTurn(5), AssistantTurn("You cut.")]  # fmt: skip
    rendered = grammar.render(turns)
    silent = torch.zeros(len(rendered.input_ids), grammar.placeholder_id)
    silent[:, grammar.silence_id] = 20.0

    def look_ahead(num_tokens: int, first_frame: int, count: int) -> torch.Tensor:
        return silent[:count]

    every = stream_metrics(rendered, silent, grammar, 0.5, look_ahead)
    remarks = stream_metrics(rendered, silent, grammar, 0.5, look_ahead, remarks_only=True)
    assert every.time_diff_frames == pytest.approx((3 + 5 + 0) / 3)  # the last turn has no frames after it to count on
    assert remarks.time_diff_frames == pytest.approx((3 + 0) / 2)
