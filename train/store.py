"""A fit's files: the state from which a broken run goes on, a line for every step, and TensorBoard's if wanted."""

import json
import os
import pickle
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.tracking import TensorBoardTracker
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from model.tensors import first_line
from train.recipe import RecipeError

STATE_FILE, STEPS_FILE, TENSORBOARD = "state.pt", "fit.jsonl", "tensorboard"


def read_steps(run_dir: Path) -> list[dict[str, float | None]]:
    """The lines of RUN/fit.jsonl.

    step; loss, which was learned from; words and decisions, the plain cross-entropy of each (None where nothing of
    the kind was learned); lr, of the decoder; grad_norm, before clipping.
    """
    return [json.loads(line) for line in (run_dir / STEPS_FILE).read_text(encoding="utf-8").splitlines()]


def require_tensorboard() -> None:
    """Raises RecipeError if TensorBoard is not installed."""
    if find_spec("tensorboard") is None:
        raise RecipeError(
            "fit.tensorboard = true: needs the package tensorboard; install it (pip install tensorboard), "
            "or set fit.tensorboard to false: the curves are in loss.png and fit.jsonl as well"
        )


def _read_state(path: Path) -> dict[str, Any]:
    """What a run has saved. Raises RecipeError for a file that is damaged."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict) or not {"identity", "step", "spent_s", "model", "optimizer"} <= state.keys():
            raise ValueError("it is not a state of a run")
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise RecipeError(f"{path}: cannot be read: {first_line(error)}; delete it to begin anew") from None
    return state


def _read_losses(path: Path, lines: Sequence[str]) -> list[float]:
    try:
        return [float(json.loads(line)["loss"]) for line in lines]
    except (ValueError, TypeError, KeyError):
        raise RecipeError(f"{path}: is damaged; delete it to go on without the steps that it tells of") from None


class Store:
    """A run's files. All processes call; the main one writes. run_dir: None for a fit that leaves no traces."""

    def __init__(
        self,
        run_dir: Path | None,
        identity: str,
        accelerator: Accelerator,
        model: nn.Module,
        optimizer: Any,
        *,
        tensorboard: bool = False,
    ) -> None:
        self._run_dir, self._identity, self._accelerator = run_dir, identity, accelerator
        self._model, self._optimizer = model, optimizer
        # A frozen tensor that goes by two names is left out of a state by one of them alone.
        whole = accelerator.unwrap_model(model)
        self._frozen = {n for n, p in whole.named_parameters(remove_duplicate=False) if not p.requires_grad}
        self._options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
        self._lines = self._board = None
        self._has_board = tensorboard

    def load(self) -> tuple[int, float, list[float]]:
        """The next step, the seconds spent and the losses so far; all at nothing if there is no state."""
        if self._run_dir is None:
            return 0, 0.0, []
        path, notes = self._run_dir / STATE_FILE, self._run_dir / STEPS_FILE
        step, spent_s, losses = 0, 0.0, []
        if path.is_file():
            state = _read_state(path)
            if state["identity"] != self._identity:
                raise RecipeError(
                    f"{path}: belongs to a run of another recipe or other data; move it away, or take another --run"
                )
            set_model_state_dict(
                self._model, state["model"], options=StateDictOptions(full_state_dict=True, strict=False)
            )
            set_optimizer_state_dict(self._model, self._optimizer, state["optimizer"], options=self._options)
            step, spent_s = state["step"], state["spent_s"]
        if self._accelerator.is_main_process:
            self._run_dir.mkdir(parents=True, exist_ok=True)
            kept = (
                notes.read_text(encoding="utf-8", errors="replace").splitlines()[:step]
                if step and notes.is_file()
                else []
            )
            losses = _read_losses(notes, kept)
            self._lines = notes.open("w", encoding="utf-8")
            self._lines.write("".join(f"{line}\n" for line in kept))
            if self._has_board:  # what a broken run noted of later steps is hidden
                self._board = TensorBoardTracker(TENSORBOARD, self._run_dir, purge_step=step)
                self._board.start()
        return step, spent_s, losses

    def note(self, values: dict[str, float | None]) -> None:
        """Write down one step, `values["step"]`."""
        if self._lines is not None:
            self._lines.write(json.dumps(values) + "\n")
            self._lines.flush()
        if self._board is not None:
            known = {name: value for name, value in values.items() if value is not None and name != "step"}
            self._board.log(known, step=int(values["step"] or 0))

    def save(self, step: int, spent_s: float) -> None:
        """Replace the state; it is whole or the old one at any time. The steps before `step` must have been noted."""
        if self._run_dir is None:
            return
        optimizer = get_optimizer_state_dict(self._model, self._optimizer, options=self._options)
        state = {"identity": self._identity, "step": step, "spent_s": spent_s}
        state |= {"model": self.trained(), "optimizer": optimizer}
        if self._accelerator.is_main_process:
            draft = self._run_dir / f".{STATE_FILE}.draft"
            with draft.open("wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._run_dir / STATE_FILE)

    def trained(self) -> dict[str, Tensor]:
        """What is trained, gathered from all processes into the main one."""
        tensors = get_model_state_dict(self._model, options=self._options)
        return {n: t for n, t in tensors.items() if isinstance(t, Tensor) and n not in self._frozen}

    def close(self) -> None:
        """Close the files; what was noted stays."""
        if self._lines is not None:
            self._lines.close()
        if self._board is not None:
            self._board.finish()
