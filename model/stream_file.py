"""A running stream in a file: one safetensors file, its state as JSON in the metadata."""

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from model.engine import Engine
from model.errors import StreamError
from model.grammar import Cursor, Grammar
from model.stream import Stream, StreamOptions
from model.summary import make_stream

FORMAT = 1


def save(stream: Stream, path: Path, fingerprint: dict[str, object]) -> None:
    """Write `stream` to `path`: a temporary neighbour first, then a rename. Raises StreamError."""
    state = {
        "format": FORMAT,
        "model": fingerprint,
        "system_prompt": stream.system_prompt,
        "options": asdict(replace(stream.options, silence_threshold=stream.silence_threshold)),
        "marks": asdict(stream.marks()),
        "cursor": asdict(stream.cursor),
    }
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        save_file(stream.export(), draft, metadata={"stream": json.dumps(state)})
        draft.replace(path)
    except (OSError, SafetensorError) as error:
        draft.unlink(missing_ok=True)
        raise StreamError(f"{path}: cannot save the stream: {error}") from error


def load(path: Path, engine: Engine, grammar: Grammar, fingerprint: dict[str, object]) -> Stream:
    """The stream in `path`. Raises StreamError if it is missing, damaged, or another model's."""
    try:
        with safe_open(path, framework="pt") as file:
            state = json.loads((file.metadata() or {}).get("stream", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, json.JSONDecodeError) as error:
        raise StreamError(f"{path}: cannot be read as a saved stream: {error}") from error
    if state.get("format") != FORMAT:
        raise StreamError(f"{path}: not a saved stream of format {FORMAT}; start a new stream")
    if state["model"] != fingerprint:
        raise StreamError(f"{path}: saved by another model ({state['model']['name']}); start a new stream")
    grammar = grammar.with_spec(replace(grammar.spec, system_prompt=state["system_prompt"]))
    cursor = state["cursor"]
    stream = make_stream(engine, grammar, StreamOptions(**state["options"]))
    stream.restore(
        tensors,
        Cursor(**cursor | {name: tuple(cursor[name]) for name in ("pending_ids", "questions")}),
        state["marks"],
    )
    return stream
