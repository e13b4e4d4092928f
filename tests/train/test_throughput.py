"""What a fit says about its own speed: operations, shares of the time, and the bottleneck."""

import math
import time

import pytest
import torch
from accelerate import Accelerator
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from model.assembly import open_checkpoint
from model.checkpoint import LoraSpec
from tests.pace import pace
from tests.train.test_samples import ANNOTATION
from tests.train.test_training import GOLDEN, make_sampler
from train.later import Later
from train.recipe import ObjectivePart
from train.throughput import SKIPPED_STEPS, Meter, Work, bottleneck, summary_line
from train.trainable import compile_layers, make_trainable

CPU = torch.device("cpu")
TARGETS = r"model.*(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)$"


@pytest.fixture(scope="module")
def golden():
    return open_checkpoint(GOLDEN)


@pytest.fixture(scope="module")
def batch(golden):
    features = [[torch.randn(30, 10, 48)]] * 4
    return make_sampler([ANNOTATION] * 4, features, golden.grammar, batch_clips=2, slide_prob=0.5).batch(0)


def test_a_batch_says_where_things_are(golden, batch):
    flat = batch.labels_BT.flatten()
    assert (flat[batch.learned_L] != -100).all()
    assert len(batch.learned_L) == int((flat != -100).sum())
    ids = batch.input_ids_BT.flatten()
    assert (ids[batch.frame_tokens_P] == golden.grammar.placeholder_id).all()
    assert len(batch.frame_tokens_P) == 10 * len(batch.features_MNF)
    assert batch.num_decisions == int(batch.decides_BT.sum()) > 0
    pinned = batch.to(CPU)
    assert (pinned.num_decisions, pinned.num_padding) == (batch.num_decisions, batch.num_padding)


def test_operations_of_a_step(batch):
    decoder, connector = nn.ModuleDict(), nn.Linear(7, 11, bias=False)
    decoder["embed"] = nn.Embedding(100, 8)
    decoder["frozen"] = nn.Linear(8, 8, bias=False).requires_grad_(False)
    decoder["trained"] = nn.Linear(8, 2, bias=False)
    decoder["head"] = nn.Linear(8, 100, bias=False).requires_grad_(False)
    work = Work.of(decoder, decoder["embed"], decoder["head"], connector)
    assert (work.per_token, work.per_learned, work.per_frame_token) == (4 * 64 + 6 * 16, 4 * 800, 6 * 77)
    decoder["head"].weight = decoder["embed"].weight  # tied, and trained
    assert Work.of(decoder, decoder["embed"], decoder["head"], connector).per_learned == 6 * 800
    expected = work.per_token * batch.num_tokens + 3200 * len(batch.learned_L) + 462 * len(batch.frame_tokens_P)
    assert work.flops(batch) == expected


def test_the_time_is_shared_out(batch):
    meter = Meter(CPU, Work(1, 0, 0), is_bfloat16=False, num_processes=2)
    assert meter.report() == {}
    for step in range(SKIPPED_STEPS + 4):
        slow = 0.05 if step < SKIPPED_STEPS else 0.0
        meter.begin()
        time.sleep(0.01 + slow)
        meter.got(batch)
        for part, seconds in (("forward", 0.004), ("backward", 0.012), ("optimizer", 0.0)):
            time.sleep(seconds)
            meter.mark(part)
        with meter.paused():
            time.sleep(0.05)
    report = meter.report()
    assert report["measured_steps"] == 4
    assert 0.1 < report["measured_seconds"] < 0.28 * pace()  # 4 × 26 ms: neither the first steps nor the pauses
    assert report["data_wait_share"] == pytest.approx(10 / 26, abs=0.1)
    assert report["backward_share"] == pytest.approx(0.75, abs=0.1)
    assert report["dialogues_per_s"] == pytest.approx(2 * 2 * 4 / report["measured_seconds"])
    assert report["text_tokens_per_s"] == pytest.approx(report["tokens_per_s"] * (1 - report["padding_share"]))
    assert report["bottleneck"] == "data"
    assert "bottleneck: data" in summary_line(report)
    assert summary_line({}) == ""


def test_the_bottleneck_is_what_is_waited_for():
    assert bottleneck(0.3, 0.0, is_cuda=True) == "data"
    assert bottleneck(0.3, 0.6, is_cuda=True) == "compute"
    assert bottleneck(0.05, 0.3, is_cuda=True) == "compute"
    assert bottleneck(0.05, 0.01, is_cuda=True) == "launches"
    assert bottleneck(0.05, 0.0, is_cuda=False) == "compute"
    assert bottleneck(0.11, 0.0, is_cuda=False) == "data"


def test_numbers_come_later_as_they_were():
    values = torch.tensor([[1.5], [2.5]], requires_grad=True)
    assert Later(values).read() == [1.5, 2.5]


def test_adapters_do_the_same_without_widening(batch):
    """Under bfloat16 autocast, loss and gradients are those that PEFT computes with its own casts."""
    found = []
    for widens in (True, False):
        torch.manual_seed(0)
        model = open_checkpoint(GOLDEN)
        lora = LoraSpec(4, 8, TARGETS)
        training = make_trainable(model.decoder, model.connector, lora, model.grammar, ObjectivePart(),
                                  Accelerator(cpu=True), False)  # fmt: skip
        training.decoder.to(torch.bfloat16)
        for name, module in training.named_modules():
            if ".lora_A." in name or ".lora_B." in name:
                module.to(torch.float32)
                nn.init.normal_(module.weight, std=0.1)
            if isinstance(module, BaseTunerLayer):
                module.cast_input_dtype_enabled = widens
        with torch.autocast("cpu", torch.bfloat16):
            total, count, sums = training(batch)
        (total / count).backward()
        grads = {n: p.grad for n, p in training.named_parameters() if p.grad is not None}
        found.append((total, sums, grads))
    (one, sums_one, grads_one), (two, sums_two, grads_two) = found
    torch.testing.assert_close(one, two)
    torch.testing.assert_close(sums_one, sums_two)
    assert sums_one.sum().item() == pytest.approx(one.item(), rel=1e-5)
    assert grads_one.keys() == grads_two.keys()
    for name in grads_one:
        torch.testing.assert_close(grads_one[name], grads_two[name])


@pytest.mark.parametrize("device", ["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
@pytest.mark.parametrize("loss", ["ce", "ohem", "focal"])
def test_a_step_waits_for_nothing(batch, device, loss):
    """On a GPU, PyTorch raises where forward or backward would wait for it, from the second step on."""
    accelerator = Accelerator(cpu=device == "cpu")
    model, lora, objective = open_checkpoint(GOLDEN), LoraSpec(4, 8, TARGETS), ObjectivePart(loss=loss)
    training = make_trainable(model.decoder, model.connector, lora, model.grammar, objective, accelerator, False)
    optimizer = torch.optim.AdamW([p for p in training.parameters() if p.requires_grad], fused=device == "cuda")
    waits = [batch.pin_memory() if device == "cuda" else batch] * 3
    totals = []
    for step, waiting in enumerate(waits):
        if device == "cuda":
            torch.cuda.set_sync_debug_mode("error" if step else "default")
        with torch.autocast(device, torch.bfloat16):
            total, count, _ = training(waiting.to(accelerator.device))
        (total / count).backward()
        optimizer.step()
        optimizer.zero_grad()
        totals.append(Later(total / count))
    if device == "cuda":
        torch.cuda.set_sync_debug_mode("default")
    losses = [total.read()[0] for total in totals]
    assert all(map(math.isfinite, losses))
    assert len({*losses}) == 3  # each step has changed the model


def test_compiled_layers_compute_the_same(golden):
    """For dialogues of any length, without compiling anew for each; tensors keep their names."""
    sampler = make_sampler([ANNOTATION] * 4, [[torch.randn(30, 10, 48)]] * 4, golden.grammar, batch_clips=2,
                           slide_prob=0.7)  # fmt: skip
    models = []
    for is_compiled in (False, True):
        torch.manual_seed(0)
        model = open_checkpoint(GOLDEN)
        training = make_trainable(model.decoder, model.connector, LoraSpec(4, 8, TARGETS), model.grammar,
                                  ObjectivePart(), Accelerator(cpu=True), False)  # fmt: skip
        if is_compiled:
            compile_layers(training, backend="aot_eager")
        models.append(training)
    plain, compiled = models
    assert plain.state_dict().keys() == compiled.state_dict().keys()
    lengths = set()
    with torch.compiler.set_stance("default"):
        for step in range(3):
            batch = sampler.batch(step)
            lengths.add(batch.input_ids_BT.shape[1])
            if len(lengths) == 2:  # everything is compiled by now
                torch.compiler.set_stance("fail_on_recompile")
            for training in models:
                training.zero_grad()
                training(batch)[0].backward()
            for one, two in zip(plain.parameters(), compiled.parameters(), strict=True):
                torch.testing.assert_close(one.grad, two.grad)
    assert len(lengths) > 1
