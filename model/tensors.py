"""Puts tensors of a file into the module that they belong to, and says plainly where the two do not fit."""

from collections.abc import Collection, Iterable, Mapping

from torch import Tensor, nn

from model.errors import CheckpointError

MAX_NAMED = 3


def load_tensors(
    module: nn.Module, tensors: Mapping[str, Tensor], what: str, *, may_miss: Collection[str] = ()
) -> None:
    """Copy `tensors` into the module's, which keep their dtypes and devices; all of it, or nothing.

    what: for the message, such as "run/checkpoint: its connector". may_miss: names that may be left out. Raises
    CheckpointError where some are missing, unknown, of another shape, or not finite, with the first few names.
    """
    wanted = module.state_dict()
    missing = [name for name in wanted if name not in tensors and name not in may_miss]
    unknown = [name for name in tensors if name not in wanted]
    other = [
        f"{name} ({_size(tensor)}, not {_size(wanted[name])})"
        for name, tensor in tensors.items()
        if name in wanted and tensor.shape != wanted[name].shape
    ]
    for problem, names in (("missing", missing), ("unknown", unknown), ("of another shape", other)):
        if names:
            raise CheckpointError(f"{what} does not fit: {problem} {first_few(names)}; get or export it again")
    refuse_not_finite(tensors, what)
    module.load_state_dict(tensors, strict=False)


def refuse_not_finite(tensors: Mapping[str, Tensor], what: str) -> None:
    """Raises CheckpointError where a tensor holds numbers that are none, as a run that went wrong leaves them."""
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise CheckpointError(f"{what}: {name} holds numbers that are none; get or export it again")


def first_few(names: Iterable[str]) -> str:
    """Some names for a message."""
    named = list(names)
    return ", ".join(named[:MAX_NAMED]) + (f" and {len(named) - MAX_NAMED} more" if len(named) > MAX_NAMED else "")


def first_line(error: Exception) -> str:
    """What a library says was wrong: its first sentence, without the pages that may follow."""
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return line.partition(". ")[0].rstrip(".")


def _size(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "one number"
