"""The stream grammar: the only place that knows how frames, questions and answers become token ids.

    {bos}{system}\\n
    \\n[<v>…<v>,<v>…<v>]\\nAssistant: You cut it.{eos}\\n[<v>…<v>]\\nUser: What next?\\nAssistant: Add salt.{eos}

`<v>` is one frame token. Training renders whole dialogues (`Grammar.render`, ids and labels from one walk);
running renders one turn after another (a `Cursor` says where it stands). Both go through the same
transition table and the same tokenizer calls, so that what the model meets while it runs is what it was trained on.

Text between two special tokens is always tokenized in one piece, which is what a chat template would do. A user's text
cannot forge a turn: special tokens in it are taken apart into ordinary ones, and it is one line, for a turn begins on a
line of its own.
"""

import functools
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from model.errors import CheckpointError

IGNORE_ID = -100
"""The label of a position that is not learned (the default `ignore_index` of PyTorch's cross-entropy)."""

DEFAULT_SYSTEM_PROMPT = (
    "A multimodal AI assistant is helping users with some activities. Below is their conversation, "
    "interleaved with the list of video frames received by the assistant."
)
"""The system prompt that the published VideoLLM-online weights expect."""

FRAME_PLACEHOLDER = "<v>"
CACHED_TEXTS = 4096
_NOT_IN_A_LINE = ("Cc", "Cs", "Zl", "Zp")  # control characters, halves of characters, separators of lines

Place = Literal["system", "frame", "user", "assistant"]

# What stands between two neighbours; "{eos}" is the end-of-sequence token, and silence between two frames is the
# interval token or nothing (`GrammarSpec.has_interval`). VideoLLM-online, section 3.2 and its chat template.
_TRANSITIONS: dict[tuple[Place, Place], str] = {
    ("system", "frame"): "\n\n[",
    ("system", "user"): "\n\nUser: ",
    ("system", "assistant"): "\n\nAssistant:",
    ("frame", "user"): "]\nUser: ",
    ("frame", "assistant"): "]\nAssistant:",
    ("user", "assistant"): "\nAssistant:",
    ("user", "frame"): "\n[",
    ("user", "user"): "\nUser: ",
    ("assistant", "frame"): "\n[",
    ("assistant", "user"): "\nUser: ",
    ("assistant", "assistant"): "\nAssistant:",
}


class Tokenizer(Protocol):
    """The part of a Hugging Face fast tokenizer that the grammar uses."""

    bos_token: str | None
    eos_token: str | None

    def __call__(
        self,
        text: str,
        *,
        add_special_tokens: bool,
        return_offsets_mapping: bool,
        split_special_tokens: bool,
    ) -> dict: ...

    def convert_tokens_to_ids(self, tokens: str) -> int:
        """The id of one token."""
        ...

    def decode(self, token_ids: list[int], *, skip_special_tokens: bool = False) -> str:
        """The text of these tokens."""
        ...

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class StreamTurn:
    """`num_frames` frames in which nobody speaks until, perhaps, the end.

    learn: True, False, or n for the first n frames.
    """

    num_frames: int
    learn: bool | int = True


@dataclass(frozen=True)
class UserTurn:
    """What the user says or types."""

    text: str


@dataclass(frozen=True)
class AssistantTurn:
    """What the assistant says; `learn` is False for a reply that the model should not imitate."""

    text: str
    learn: bool = True


Turn = StreamTurn | UserTurn | AssistantTurn


@dataclass(frozen=True)
class Rendered:
    """One dialogue as token ids.

    input_ids: T ids; frame tokens carry `Grammar.placeholder_id`.
    labels: T targets, already shifted: `labels[t]` is what should be predicted at t; IGNORE_ID = not learned.
    decides: T flags: whether what is learned at t is to speak or to stay silent after a frame.
    text: the exact text, `<v>` for every frame token.
    """

    input_ids: list[int]
    labels: list[int]
    decides: list[bool]
    text: str


@dataclass(frozen=True)
class GrammarSpec:
    """What a checkpoint fixes about its grammar.

    num_frame_tokens: 10 (CLS + 3×3) or 1 (CLS alone).
    has_interval: True: `,` between silent frames; False: silence is end-of-sequence, and nothing is appended.
    is_per_frame: True: every frame is a turn of its own with a reply, which is empty for silence (the per-frame
    dialogue that the paper compares with, section 3.1); has_interval then means nothing.
    bos_token, eos_token: the special tokens it was trained with; None: whatever the tokenizer calls so. Tokenizers
    of one model differ in this between conversions, and a stream never ends its sentences on the wrong one.
    """

    num_frame_tokens: int = 10
    has_interval: bool = True
    is_per_frame: bool = False
    system_prompt: str = DEFAULT_SYSTEM_PROMPT
    bos_token: str | None = None
    eos_token: str | None = None


@dataclass(frozen=True)
class Cursor:
    """Where a running stream stands: what the cache ends in, and what is decided but not yet in it.

    place: "system" (nothing is in the cache yet), "frame", or "assistant".
    pending_ids: the end of a reply, ending in end-of-sequence. questions: asked, not answered.
    Pending parts are fed together with whatever comes next, so that text is tokenized in one piece.
    """

    place: Place = "system"
    pending_ids: tuple[int, ...] = ()
    questions: tuple[str, ...] = ()


@dataclass
class _Run:
    """Text since the last special token, with the ranges of it that are learned."""

    text: str = ""
    learned: list[range] = field(default_factory=list)


class Grammar:
    """Renders dialogues and running streams to ids for one tokenizer. Immutable; any thread may use it."""

    def __init__(self, tokenizer: Tokenizer, spec: GrammarSpec | None = None) -> None:
        self.spec = spec or GrammarSpec()
        self.bos_token = self.spec.bos_token or tokenizer.bos_token
        self.eos_token = self.spec.eos_token or tokenizer.eos_token
        if self.eos_token is None:
            raise CheckpointError("the tokenizer has no end-of-sequence token: name one in the checkpoint's grammar")
        self.eos_id = tokenizer.convert_tokens_to_ids(self.eos_token)
        self.placeholder_id = len(tokenizer)
        self._tokenizer = tokenizer
        self._encode = functools.lru_cache(maxsize=CACHED_TEXTS)(self._encode_anew)
        self._bos_ids = [tokenizer.convert_tokens_to_ids(self.bos_token)] if self.bos_token else []
        self.interval_id = self.ids(",")[-1]
        reply = _TRANSITIONS["frame", "assistant"]
        self.speak_id = self.ids(reply)[0]
        self.before_decision = self.ids(reply) if self.spec.is_per_frame else []
        """Ids to feed after a frame's tokens to read the decision; what follows says whether they stay."""

    def with_spec(self, spec: GrammarSpec) -> "Grammar":
        """The same tokenizer under another spec."""
        return Grammar(self._tokenizer, spec)

    @property
    def silence_id(self) -> int:
        """The token that means "stay silent" when it is predicted after a frame."""
        return self.interval_id if self.spec.has_interval and not self.spec.is_per_frame else self.eos_id

    def ids(self, text: str) -> list[int]:
        """Ids of plain text; special tokens in it are split into ordinary ones."""
        return list(self._encode(text)[0])

    @staticmethod
    def said_by_user(text: str) -> str:
        """A user's text as it stands in a turn: one line. What breaks a line, or is no character, becomes a space."""
        if text.isprintable():
            return text
        return "".join(" " if unicodedata.category(char) in _NOT_IN_A_LINE else char for char in text).strip()

    def with_notes(self, question: str, notes: Sequence[str]) -> str:
        """The question of a turn, with what is known of the past before it; without notes the question as it is."""
        return f"(Earlier: {' '.join(notes)}) {question}" if notes else question

    def text(self, ids: Sequence[int]) -> str:
        """What a reply's ids say; the end-of-sequence is left out."""
        return self._tokenizer.decode([i for i in ids if i != self.eos_id], skip_special_tokens=True)

    # ---- running -------------------------------------------------------------------------------------------

    def before_frame(self, cursor: Cursor) -> list[int]:
        """Ids to feed before the next frame's tokens; the cursor after that frame is `Cursor("frame")`."""
        if cursor.place == "frame" and not cursor.questions and not self.spec.is_per_frame:
            return [self.interval_id] if self.spec.has_interval else []
        return self._flush(cursor, "frame")

    def before_reply(self, cursor: Cursor) -> list[int]:
        """Ids to feed before the model writes its reply; they end in `Assistant:`."""
        return self._flush(cursor, "assistant")

    def after_reply(self, unfed_ids: Sequence[int] = ()) -> Cursor:
        """The cursor after a reply; `unfed_ids` are its last words if they are not in the cache yet."""
        return Cursor("assistant", (*unfed_ids, self.eos_id))

    def _flush(self, cursor: Cursor, following: Place) -> list[int]:
        place, text, ids = cursor.place, "", list(cursor.pending_ids)
        if place == "system":
            ids, text = list(self._bos_ids), self.spec.system_prompt
        elif place == "frame" and self.spec.is_per_frame and (cursor.questions or following == "frame"):
            place, ids = "assistant", [*self.before_decision, self.eos_id]
        for question in cursor.questions:
            text += _TRANSITIONS[place, "user"] + self.said_by_user(question)
            place = "user"
        return ids + self.ids(text + _TRANSITIONS[place, following])

    # ---- training ------------------------------------------------------------------------------------------

    def render(self, turns: Sequence[Turn]) -> Rendered:
        """The whole dialogue with its labels.

        Learned are: the last token of each learned frame (silence, or the first token of what ends the silence)
        and every reply from `Assistant:` to its end-of-sequence. Neighbouring stream turns are one silence. A
        dialogue that ends in frames stays open, as a running stream does, and its last frame's label is silence.
        In a per-frame dialogue only what follows `Assistant:` is learned, an end-of-sequence alone for silence.
        """
        rendering = _Rendering(self)
        for turn in turns:
            if isinstance(turn, StreamTurn):
                learned = turn.num_frames if turn.learn is True else int(turn.learn)
                for frame in range(turn.num_frames):
                    rendering.frame(learn=frame < learned)
            elif isinstance(turn, UserTurn):
                rendering.user(turn.text)
            else:
                rendering.assistant(turn.text, learn=turn.learn)
        return rendering.finish()

    def _encode_anew(self, text: str) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]]:
        """Ids of a text and the range of characters of each."""
        encoding = self._tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True, split_special_tokens=True
        )
        return tuple(encoding["input_ids"]), tuple(encoding["offset_mapping"])


class _Rendering:
    """The state of one `Grammar.render` walk."""

    def __init__(self, grammar: Grammar) -> None:
        self._grammar = grammar
        self._ids: list[int] = list(grammar._bos_ids)
        self._learned: list[bool] = [False] * len(self._ids)
        """Whether the token at this index is a learned target."""
        self._overrides: dict[int, int] = {}
        """Labels that are not simply the next token (silence of 1-token frames, the end of an open stream)."""
        self._decisions: set[int] = set()
        self._text = self._special(grammar._bos_ids)
        self._run = _Run(grammar.spec.system_prompt)
        self._place: Place = "system"
        self._open_frame = False
        """Whether the last frame is learned and its target is still to come."""

    def frame(self, *, learn: bool) -> None:
        spec = self._grammar.spec
        self._close_frame()
        if self._place == "frame":
            if self._open_frame and not spec.has_interval:
                self._overrides[len(self._ids) - 1] = self._grammar.eos_id
            if spec.has_interval:
                self._append([self._grammar.interval_id], learn=self._open_frame)
                self._text += ","
        else:
            self._write(_TRANSITIONS[self._place, "frame"])
            self._flush()
        self._append([self._grammar.placeholder_id] * spec.num_frame_tokens, learn=False)
        self._text += FRAME_PLACEHOLDER * spec.num_frame_tokens
        self._place, self._open_frame = "frame", learn

    def user(self, text: str) -> None:
        self._close_frame()
        self._write(_TRANSITIONS[self._place, "user"] + self._grammar.said_by_user(text))
        self._place = "user"

    def assistant(self, text: str, *, learn: bool) -> None:
        glue = _TRANSITIONS[self._place, "assistant"]
        is_decided = self._open_frame and self._grammar.spec.is_per_frame
        # "Assistant:" itself is learned where it is the model that brings it up.
        start = len(self._run.text) + (len(glue) if self._grammar.spec.is_per_frame else glue.index("Assistant:"))
        self._write(f"{glue} {text}")
        if learn:
            self._run.learned.append(range(start, len(self._run.text)))
        self._flush()
        self._append([self._grammar.eos_id], learn=learn)
        if is_decided and learn:
            self._decisions.add(len(self._ids) - 1 - self._count_learned_at_end())
        self._text += self._special([self._grammar.eos_id])
        self._place = "assistant"

    def finish(self) -> Rendered:
        if self._open_frame:
            self._close_frame()
        if self._place == "frame" and self._open_frame:
            self._overrides[len(self._ids) - 1] = self._grammar.silence_id
        self._flush()
        labels = [
            self._ids[t + 1] if t + 1 < len(self._ids) and self._learned[t + 1] else IGNORE_ID
            for t in range(len(self._ids))
        ]
        for position, label in self._overrides.items():
            labels[position] = label
        placeholder, is_per_frame = self._grammar.placeholder_id, self._grammar.spec.is_per_frame
        decides = [
            t in self._decisions if is_per_frame else id_ == placeholder and labels[t] != IGNORE_ID
            for t, id_ in enumerate(self._ids)
        ]
        return Rendered(self._ids, labels, decides, self._text)

    def _close_frame(self) -> None:
        """In a per-frame dialogue, give the frame before this its empty reply."""
        if self._place != "frame" or not self._grammar.spec.is_per_frame:
            return
        learn, self._open_frame = self._open_frame, False
        self._write(_TRANSITIONS["frame", "assistant"])
        self._flush()
        if learn:
            self._decisions.add(len(self._ids) - 1)
        self._append([self._grammar.eos_id], learn=learn)
        self._text += self._special([self._grammar.eos_id])
        self._place = "assistant"

    def _count_learned_at_end(self) -> int:
        return next(i for i, is_learned in enumerate([*reversed(self._learned), False]) if not is_learned)

    def _write(self, text: str) -> None:
        self._run.text += text

    def _flush(self) -> None:
        if not self._run.text:
            return
        ids, offsets = self._grammar._encode(self._run.text)
        learned = [any(start in span for span in self._run.learned) for start, _ in offsets]
        if self._open_frame and ids and not self._grammar.spec.is_per_frame:
            learned[0] = True
        self._open_frame = False
        self._ids += ids
        self._learned += learned
        self._text += self._run.text
        self._run = _Run()

    def _append(self, ids: list[int], *, learn: bool) -> None:
        self._ids += ids
        self._learned += [learn] * len(ids)

    def _special(self, ids: Sequence[int]) -> str:
        return "".join(self._grammar._tokenizer.decode([i]) for i in ids)
