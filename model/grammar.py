"""The stream grammar: the only place that knows how frames, questions and answers become token ids.

    {bos}{system}\\n
    \\n[<v>…<v>,<v>…<v>]\\nAssistant: You cut it.{eos}\\n[<v>…<v>]\\nUser: What next?\\nAssistant: Add salt.{eos}

`<v>` is one frame token. What stands between turns is the template's (`model.templates`; above is VideoLLM-online's).
Training renders whole dialogues (`Grammar.render`, ids and labels from one walk); running renders one turn after
another (a `Cursor` says where it stands). Both go through the same template and the same tokenizer calls, so that what
the model meets while it runs is what it was trained on.

Text between two special tokens is always tokenized in one piece, which is what a chat template would do. A user's text
cannot forge a turn: special tokens in it are taken apart into ordinary ones, and it is one line, for a turn may begin
on a line of its own.
"""

import functools
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from model.errors import CheckpointError
from model.templates import TEMPLATES, Place, Template

IGNORE_ID = -100
"""The label of a position that is not learned (the default `ignore_index` of PyTorch's cross-entropy)."""

CACHED_TEXTS = 4096
_NOT_IN_A_LINE = ("Cc", "Cs", "Zl", "Zp")  # control characters, halves of characters, separators of lines


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
    reply_ends: positions right after each reply's end-of-sequence, empty replies of a per-frame dialogue left out.
    """

    input_ids: list[int]
    labels: list[int]
    decides: list[bool]
    text: str
    reply_ends: list[int]


@dataclass(frozen=True)
class GrammarSpec:
    """What a checkpoint fixes about its grammar.

    num_frame_tokens: 1 (CLS alone), or CLS and a grid: 5 (2×2) or 10 (3×3).
    has_interval: True: `,` between silent frames; False: silence is end-of-sequence, and nothing is appended.
    is_per_frame: True: every frame is a turn of its own with a reply, which is empty for silence (the per-frame
    dialogue that the paper compares with, section 3.1); has_interval then means nothing.
    system_prompt: None: the template's own. bos_token, eos_token: the special tokens it was trained with; None:
    whatever the tokenizer calls so. Tokenizers of one model differ in this between conversions, and a stream never ends
    its sentences on the wrong one. template: one of TEMPLATES.
    """

    num_frame_tokens: int = 10
    has_interval: bool = True
    is_per_frame: bool = False
    system_prompt: str | None = None
    bos_token: str | None = None
    eos_token: str | None = None
    template: str = "videollm-online"


@dataclass(frozen=True)
class Cursor:
    """Where a running stream stands: what the cache ends in, and what is decided but not yet in it.

    place: "system" (nothing is in the cache yet), "frame", or "assistant".
    pending_ids: the end of a reply, with its end-of-sequence if that is fed. questions: asked, not answered.
    Pending parts are fed together with whatever comes next, so that text is tokenized in one piece.
    opening_id: the likeliest token after the frame but for silence: how the model would begin to speak there.
    """

    place: Place = "system"
    pending_ids: tuple[int, ...] = ()
    questions: tuple[str, ...] = ()
    opening_id: int | None = None


class Grammar:
    """Renders dialogues and running streams to ids for one tokenizer. Immutable; any thread may use it."""

    def __init__(self, tokenizer: Tokenizer, spec: GrammarSpec | None = None) -> None:
        self.spec = spec or GrammarSpec()
        if self.spec.template not in TEMPLATES:
            raise CheckpointError(f"grammar.template = {self.spec.template!r}: must be one of {', '.join(TEMPLATES)}")
        self.template: Template = TEMPLATES[self.spec.template]
        self.bos_token = self.spec.bos_token or tokenizer.bos_token
        self.eos_token = self.spec.eos_token or tokenizer.eos_token
        if self.eos_token is None:
            raise CheckpointError("the tokenizer has no end-of-sequence token: name one in the checkpoint's grammar")
        self._tokenizer = tokenizer
        self._special_ids = {token: self._special_id(token) for token in self.template.special_tokens}
        self._glue_pattern = re.compile("|".join(map(re.escape, self.template.special_tokens)) or "(?!)")
        self.eos_id = self._special_id(self.eos_token)
        self.placeholder_id = len(tokenizer)
        self._encode = functools.lru_cache(maxsize=CACHED_TEXTS)(self._encode_anew)
        self._bos_ids = [self._special_id(self.bos_token)] if self.bos_token else []
        self.interval_id = self.ids(",")[-1]
        reply = _Writer(self)
        reply.glue(self.template.between["frame", "assistant"] + self.template.reply_header)
        self.speak_id = reply.finish()[0]
        self.before_decision = reply.ids if self.spec.is_per_frame else []
        """Ids to feed after a frame's tokens to read the decision; what follows says whether they stay."""

    @property
    def system_prompt(self) -> str:
        """What stands before the first frame."""
        return self.template.system_prompt if self.spec.system_prompt is None else self.spec.system_prompt

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

    def said_by_user(self, text: str) -> str:
        """A user's text as it stands in a turn: one line. What breaks a line, or is no character, becomes a space."""
        if text.isprintable():
            return self.trim(text)
        return "".join(" " if unicodedata.category(char) in _NOT_IN_A_LINE else char for char in text).strip()

    def trim(self, text: str) -> str:
        """A turn's text, without the spaces around it that the template has none of."""
        return text.strip() if self.template.strips else text

    def with_notes(self, question: str, notes: Sequence[str]) -> str:
        """The question of a turn, with what is known of the past before it; without notes the question as it is."""
        return f"(Earlier: {' '.join(notes)}) {question}" if notes else question

    def text(self, ids: Sequence[int]) -> str:
        """What a reply's ids say; its end-of-sequence, and a header that the model wrote, are left out."""
        said = [i for i in ids if i != self.eos_id]
        if not self.template.writes_header or not said or said[0] != self.speak_id:
            return self._tokenizer.decode(said, skip_special_tokens=True)
        *_, last = self._glue_pattern.finditer(self.template.reply_header)
        last_id, gap = self._special_ids[last[0]], self.template.reply_header[last.end() :]
        if last_id not in said:
            return ""
        text = self._tokenizer.decode(said[said.index(last_id) + 1 :], skip_special_tokens=True)
        return "" if gap.startswith(text) else text.removeprefix(gap)

    def is_silence(self, prob: float, winner: int, threshold: float) -> bool:
        """Whether silence is kept where it has this probability (0–1), and `winner` is the likeliest token."""
        if self.template.silence_is_likeliest:
            return winner == self.silence_id and prob >= threshold
        return prob > threshold

    # ---- running -------------------------------------------------------------------------------------------

    def before_frame(self, cursor: Cursor) -> list[int]:
        """Ids to feed before the next frame's tokens; the place after that frame is "frame"."""
        if cursor.place == "frame" and not cursor.questions and not self.spec.is_per_frame:
            return [self.interval_id] if self.spec.has_interval else []
        return self._flush(cursor, "frame")

    def before_reply(self, cursor: Cursor) -> list[int]:
        """Ids to feed before the model writes its reply; none where it has said how it would begin (`opening_id`)."""
        ids = self._flush(cursor, "assistant")
        return ids if ids or cursor.opening_id is not None else [self.eos_id]

    def after_reply(self, unfed_ids: Sequence[int] = ()) -> Cursor:
        """The cursor after a reply; `unfed_ids` are its last words if they are not in the cache yet."""
        return Cursor("assistant", (*unfed_ids, self.eos_id) if self.template.feeds_reply_end else tuple(unfed_ids))

    def _flush(self, cursor: Cursor, following: Place) -> list[int]:
        place, writer, template = cursor.place, _Writer(self), self.template
        writer.ids += cursor.pending_ids
        if place == "system":
            writer.begin()
        elif place == "frame" and self.spec.is_per_frame and (cursor.questions or following == "frame"):
            place = "assistant"
            writer.ids += [*self.before_decision, self.eos_id]
        for question in cursor.questions:
            writer.glue(template.between[place, "user"])
            writer.text(self.said_by_user(question))
            place = "user"
        writer.glue(template.between[place, following])
        if following == "assistant" and not template.writes_header:
            writer.glue(template.reply_header)
        return writer.finish()

    # ---- training ------------------------------------------------------------------------------------------

    def render(self, turns: Sequence[Turn]) -> Rendered:
        """The whole dialogue with its labels.

        Learned are: the last token of each learned frame (silence, or the first token of what ends the silence)
        and every reply from its header (`Assistant:`) to its end-of-sequence. Neighbouring stream turns are one
        silence. A dialogue that ends in frames stays open, as a running stream does, and its last frame's label is
        silence, or nothing (`Template.learns_last_frame`). In a per-frame dialogue only what follows `Assistant:` is
        learned, an end-of-sequence alone for silence.
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

    def _special_id(self, token: str) -> int:
        token_id = self._tokenizer.convert_tokens_to_ids(token)
        is_named = token in self.template.special_tokens or (token == self.eos_token and self.template.special_tokens)
        if token_id is None or (is_named and self._tokenizer.decode([token_id], skip_special_tokens=True)):
            raise CheckpointError(f"the tokenizer has no token {token!r}: it is not this checkpoint's")
        return token_id


class _Writer:
    """Ids of a dialogue as it is written. Text since the last special token waits until the next one (`_run`).

    learned: of each id, whether it is learned as a target. opens_silence: whether the next id is, whatever it is: it
    says, after a learned frame, what ends the silence.
    """

    def __init__(self, grammar: Grammar) -> None:
        self._grammar = grammar
        self.ids: list[int] = []
        self.learned: list[bool] = []
        self.said = ""
        self.opens_silence = False
        self._run = ""
        self._spans: list[range] = []  # of the characters that wait, those that are learned

    def begin(self) -> None:
        """The beginning-of-sequence and the system prompt."""
        grammar = self._grammar
        self.special(grammar._bos_ids)
        self.glue(grammar.template.opening)
        self.text(grammar.trim(grammar.system_prompt))

    def glue(self, text: str, *, learn: bool = False) -> None:
        """A template's text, in which special tokens are what they are."""
        start = 0
        for match in self._grammar._glue_pattern.finditer(text):
            self.text(text[start : match.start()], learn=learn)
            self.special([self._grammar._special_ids[match[0]]], learn=learn)
            start = match.end()
        self.text(text[start:], learn=learn)

    def text(self, text: str, *, learn: bool = False) -> None:
        """Words, in which special tokens are words too."""
        if learn:
            self._spans.append(range(len(self._run), len(self._run) + len(text)))
        self._run += text

    def special(self, ids: Sequence[int], *, learn: bool = False, said: str | None = None) -> None:
        """Ids that are not tokenized from text. said: how they stand in the dialogue's text."""
        self.flush()
        self._add(ids, [learn] * len(ids))
        self.said += "".join(self._grammar._tokenizer.decode([i]) for i in ids) if said is None else said

    def flush(self) -> None:
        """Tokenize the text that waits."""
        if not self._run:
            return
        ids, offsets = self._grammar._encode(self._run)
        self._add(ids, [any(start in span for span in self._spans) for start, _ in offsets])
        self.said += self._run
        self._run, self._spans = "", []

    def finish(self) -> list[int]:
        """All ids."""
        self.flush()
        return self.ids

    def _add(self, ids: Sequence[int], learned: list[bool]) -> None:
        if self.opens_silence and ids:
            learned[0], self.opens_silence = True, False
        self.ids += ids
        self.learned += learned


class _Rendering:
    """The state of one `Grammar.render` walk."""

    def __init__(self, grammar: Grammar) -> None:
        self._grammar, self._spec, self._template = grammar, grammar.spec, grammar.template
        self._writer = _Writer(grammar)
        self._writer.begin()
        self._overrides: dict[int, int] = {}
        """Labels that are not simply the next token (silence that leaves no token, the end of an open dialogue)."""
        self._decisions: set[int] = set()
        self._reply_ends: list[int] = []
        self._place: Place = "system"
        self._is_open = False
        """Whether the last frame is learned and its target is still to come."""

    def frame(self, *, learn: bool) -> None:
        self._close_frame()
        if self._place != "frame":
            self._writer.glue(self._template.between[self._place, "frame"])
        elif self._spec.has_interval:
            self._writer.special([self._grammar.interval_id], learn=self._is_open, said=",")
        else:
            self._stay_silent()
        frame = [self._grammar.placeholder_id] * self._spec.num_frame_tokens
        self._writer.special(frame, said=self._template.frame_text * len(frame))
        self._place, self._is_open = "frame", learn

    def user(self, text: str) -> None:
        self._close_frame()
        if self._template.answers_after_frame:
            self._stay_silent()
        self._end_silence()
        self._writer.glue(self._template.between[self._place, "user"])
        self._writer.text(self._grammar.said_by_user(text))
        self._place = "user"

    def assistant(self, text: str, *, learn: bool) -> None:
        template, writer, is_per_frame = self._template, self._writer, self._spec.is_per_frame
        is_decided = self._is_open and is_per_frame
        self._end_silence()
        writer.glue(template.between[self._place, "assistant"])
        writer.glue(template.reply_header, learn=learn and not is_per_frame)
        writer.text(template.reply_gap + self._grammar.trim(text), learn=learn)
        writer.special([self._grammar.eos_id], learn=learn)
        if is_decided and learn:
            self._decisions.add(len(writer.ids) - 1 - self._count_learned_at_end())
        self._reply_ends.append(len(writer.ids))
        self._place = "assistant"

    def finish(self) -> Rendered:
        writer, grammar = self._writer, self._grammar
        self._close_frame()
        if self._place == "frame" and self._is_open and self._template.learns_last_frame:
            self._overrides[len(writer.ids) - 1] = grammar.silence_id
        ids = writer.finish()
        labels = [ids[t + 1] if t + 1 < len(ids) and writer.learned[t + 1] else IGNORE_ID for t in range(len(ids))]
        for position, label in self._overrides.items():
            labels[position] = label
        decides = [
            t in self._decisions
            if self._spec.is_per_frame
            else id_ == grammar.placeholder_id and labels[t] != IGNORE_ID
            for t, id_ in enumerate(ids)
        ]
        return Rendered(ids, labels, decides, writer.said, self._reply_ends)

    def _stay_silent(self) -> None:
        """Learn silence after the last frame, where it leaves no token."""
        if self._is_open and self._place == "frame":
            self._overrides[len(self._writer.ids) - 1] = self._grammar.silence_id
            self._is_open = False

    def _end_silence(self) -> None:
        """What is written next ends the silence after the last frame."""
        if self._place == "frame" and self._is_open and not self._spec.is_per_frame:
            self._writer.opens_silence = True
        self._is_open = False

    def _close_frame(self) -> None:
        """In a per-frame dialogue, give the frame before this its empty reply."""
        if self._place != "frame" or not self._spec.is_per_frame:
            return
        learn, self._is_open = self._is_open, False
        self._writer.glue(self._template.between["frame", "assistant"] + self._template.reply_header)
        self._writer.flush()
        if learn:
            self._decisions.add(len(self._writer.ids) - 1)
        self._writer.special([self._grammar.eos_id], learn=learn)
        self._place = "assistant"

    def _count_learned_at_end(self) -> int:
        return next(i for i, is_learned in enumerate([*reversed(self._writer.learned), False]) if not is_learned)
