"""CUDA graphs of work that recurs in a few sizes: what launches hundreds of kernels is recorded once, and replayed.

One thread runs, records and prepares the work of a shelf.
"""

import logging
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from model.errors import CheckpointError, is_of_memory

log = logging.getLogger("onlooker.engine")

MAX_GRAPHS = 48
"""Of a shelf. The usual sizes stay; of the others those go that were not used for longest."""

Size = TypeVar("Size", bound=Hashable)


class Graph:
    """A recorded CUDA graph and the tensor that each replay writes."""

    def __init__(self, graph: Any, output: Tensor) -> None:
        self._graph, self._output = graph, output

    def replay(self) -> Tensor:
        """The work once more, on the current stream; the same tensor each time."""
        self._graph.replay()
        return self._output


class Recorder:
    """Records graphs that share one memory pool, for they never run at the same time. subject: whose work it is."""

    def __init__(self, device: torch.device, subject: str) -> None:
        self._device, self._subject = device, subject
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()
        self._first = self.record(lambda: torch.zeros(1, device=device))  # a pool whose last graph has gone is no more

    def record(self, act: Callable[[], Tensor]) -> Graph:
        """What `act` launches. Other threads may go on using the GPU: nothing here waits for all of it.

        Raises CheckpointError for work that cannot be recorded; after that this process cannot use the GPU any more.
        Want of memory is raised as it comes (`is_of_memory`), and harms nothing.
        """
        graph, current = torch.cuda.CUDAGraph(), torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        try:
            with torch.cuda.stream(self._stream):
                graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
                try:
                    output = act()
                finally:
                    graph.capture_end()
        except RuntimeError as error:
            if is_of_memory(error):
                raise
            raise CheckpointError(
                f"engine: {self._subject} cannot be recorded as a CUDA graph ({error}); set engine to 'plain'"
            ) from error
        current.wait_stream(self._stream)
        return Graph(graph, output)


class Shelf(Generic[Size]):
    """The graphs of one kind of work, by size. usual: sizes that recur, in the order in which they are made ready.

    A size that has no graph is computed without one the first time, and recorded the second time; where there is no
    memory for that, it is computed without one from then on, and the log says so once. recorder: None where
    there is no GPU; then all is computed. `compute` is not kept: it may hold what the shelf must not keep alive.
    """

    def __init__(self, recorder: Recorder | None, usual: Sequence[Size]) -> None:
        self._recorder, self._usual = recorder, usual
        self._graphs: dict[Size, Graph | None] = {}
        self._without: set[Size] = set()  # no memory for their graphs; to try again at each pass takes long

    def run(self, size: Size, compute: Callable[[Size], Tensor]) -> Tensor:
        """The work in that size; what it gives holds until the next run."""
        is_new = size not in self._graphs
        graph = self._graphs[size] = self._graphs.pop(size, None)  # the latest used is the last
        if len(self._graphs) > MAX_GRAPHS:
            old = next(old for old in self._graphs if old not in self._usual)
            del self._graphs[old]
            self._without.discard(old)
        if is_new or self._recorder is None or size in self._without:
            return compute(size)
        if graph is None:
            try:
                graph = self._graphs[size] = self._recorder.record(lambda: compute(size))
            except RuntimeError as error:
                self._do_without(size, error)  # which takes less
                return compute(size)
        return graph.replay()

    @property
    def is_out_of_memory(self) -> bool:
        """Whether some of its work is computed without a graph for want of memory."""
        return bool(self._without)

    def prepare(self, compute: Callable[[Size], Tensor]) -> bool:
        """Record one more usual size; False if all of them are there, or no memory for more."""
        missing = [size for size in self._usual if self._graphs.get(size) is None]
        if self._recorder is None or not missing or self._without:
            return False
        try:
            compute(missing[0])  # kernels are compiled and chosen now, which a recording cannot do
            self._graphs[missing[0]] = self._recorder.record(lambda: compute(missing[0]))
        except RuntimeError as error:
            self._do_without(missing[0], error)
        return not self._without and len(missing) > 1

    def _do_without(self, size: Size, error: RuntimeError) -> None:
        if not is_of_memory(error):
            raise error
        if not self._without:
            log.warning("no memory on the GPU for a CUDA graph of size %s; that work goes on without, slower", size)
        self._without.add(size)
