"""What a shelf of graphs does when there is no memory for one; the recorder stands in for the GPU's."""

import logging

import pytest
import torch
from torch import Tensor

from model.graphs import MAX_GRAPHS, Graph, Recorder, Shelf


class Replayed(Graph):
    def __init__(self, output: Tensor) -> None:
        self.output = output

    def replay(self) -> Tensor:
        return self.output


class SmallRecorder(Recorder):
    """Has memory for work that gives no more than `room` numbers. attempts: how often it was asked."""

    error: RuntimeError = torch.OutOfMemoryError("CUDA out of memory")

    def __init__(self, room: int) -> None:
        self.room, self.attempts = room, 0

    def record(self, act) -> Graph:
        self.attempts += 1
        output = act()
        if output.numel() > self.room:
            raise self.error
        return Replayed(output)


def compute(size: int) -> Tensor:
    return torch.full((size,), float(size))


@pytest.mark.parametrize(
    "error",
    [SmallRecorder.error, RuntimeError("CUDA error: out of memory"), RuntimeError("CUBLAS_STATUS_ALLOC_FAILED")],
)
def test_a_graph_without_room_is_tried_once_and_told_once(error: RuntimeError, caplog: pytest.LogCaptureFixture):
    """Also where the driver says so while it makes the graph, in words of its own."""
    recorder = SmallRecorder(room=4)
    recorder.error = error
    shelf = Shelf[int](recorder, [])
    with caplog.at_level(logging.WARNING, "onlooker.engine"):
        for _ in range(20):
            for size in (2, 8, 16):
                assert torch.equal(shelf.run(size, compute), compute(size))
    assert recorder.attempts == 3
    assert shelf.is_out_of_memory
    assert len(caplog.records) == 1
    assert "no memory on the GPU" in caplog.text


def test_any_other_fault_ends_the_work():
    recorder = SmallRecorder(room=4)
    recorder.error = RuntimeError("CUDA error: an illegal memory access was encountered")
    shelf = Shelf[int](recorder, [8])
    shelf.run(16, compute)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        shelf.run(16, compute)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        shelf.prepare(compute)


def test_what_could_not_be_made_ready_is_not_tried_while_it_runs():
    recorder = SmallRecorder(room=4)
    shelf = Shelf[int](recorder, [2, 8, 4])
    assert shelf.prepare(compute)
    assert not shelf.is_out_of_memory
    assert not shelf.prepare(compute)
    assert not shelf.prepare(compute)
    assert recorder.attempts == 2
    for _ in range(5):
        shelf.run(8, compute)
    assert recorder.attempts == 2


def test_sizes_that_come_and_go_are_bounded():
    recorder = SmallRecorder(room=0)
    shelf = Shelf[int](recorder, [])
    for _ in range(3):
        for size in range(1, MAX_GRAPHS):
            shelf.run(size, compute)
    assert recorder.attempts == MAX_GRAPHS - 1
