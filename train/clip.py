"""What happens in a clip, as it is kept beside its frames: events, questions, labels of frames. Pure."""

from codecs import BOM_UTF8
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from train.recipe import RecipeError

Seconds = Annotated[float, Field(ge=0, le=1e7)]
"""From the clip's first frame on."""


class _Described(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False, validate_by_name=True)


class ClipEvent(_Described):
    """Something worth a remark, and the remark. verb, object, target: the same in words of a vocabulary, if known."""

    time_s: Seconds
    text: str = Field(min_length=1)
    verb: str = ""
    object: str = ""
    target: str | None = None


class ClipQuestion(_Described):
    """A question asked at `time_s` and the answer that is true then. kind: of question, for reports."""

    time_s: Seconds
    question: str
    answer: str
    kind: str = "other"


class FrameLabels(_Described):
    """What each of T frames shows; simulated worlds alone know it.

    phase, acted, target: T indices: of the hand's phase, of the thing it acts on and of what that is brought to (in
    `Clip.vocabulary`; −1: none). uv: T × objects × [u, v, visible], places in shares of the picture's sides. states:
    T × fixtures, 1 for open or on, 0 for not, −1 for a fixture that is not there.
    """

    phase: list[int] = []
    acted: list[int] = []
    target: list[int] = []
    uv: list[list[list[float]]] = []
    states: list[list[int]] = []


class ClipSource(_Described):
    """The user's video from which a clip was cut, and where in it the clip starts."""

    video: str
    start_s: float


class Clip(_Described):
    """A clip's description.

    fps: frames a second; 0 for snapshots, which are moments without order. study_questions: other questions about the
    same clip, a list for each time that it is learned from. objects: the things in it. unseen: those of them that are
    never trained on. group, traits: what reports tell apart. made_from: changes with whatever would change the clip.
    """

    name: str = Field(default="", validation_alias="clip", serialization_alias="clip")
    split: str = ""
    group: str = ""
    seed: int | None = None
    fps: float = Field(ge=0, le=1000)
    num_frames: int = Field(ge=1, le=10**8)
    snapshots: bool = False
    times_s: list[float] = []
    measuring_only: bool = False
    events: list[ClipEvent]
    questions: list[ClipQuestion]
    study_questions: list[list[ClipQuestion]] = []
    objects: list[str] = []
    unseen: list[str] = []
    vocabulary: list[str] = []
    frames: FrameLabels | None = None
    traits: dict[str, str] = {}
    room: str = ""
    style: str = ""
    goal: str | None = None
    source: ClipSource | None = None
    made_from: str = ""

    @model_validator(mode="after")
    def _check_labels(self) -> "Clip":
        for name, labels in self.frames or ():
            if labels and len(labels) != self.num_frames:
                raise ValueError(f"frames.{name} is of {len(labels)} frames, not {self.num_frames}")
        return self

    def to_json(self, *, indent: int | None = None, leave_out: frozenset[str] = frozenset()) -> str:
        """As `read_clip` reads it; what is not known is left out, as are the fields named in `leave_out`."""
        return self.model_dump_json(by_alias=True, exclude_defaults=True, exclude=set(leave_out), indent=indent) + "\n"


def read_clip(path: Path) -> Clip:
    """A description. Keys that are not ours are passed over. Raises RecipeError."""
    try:
        clip = Clip.model_validate_json(path.read_bytes().removeprefix(BOM_UTF8))
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}; make the clip again") from None
    except ValidationError as error:
        mistake = error.errors(include_url=False)[0]
        if mistake["type"] == "json_invalid":
            raise RecipeError(f"{path}: cannot be read: {mistake['msg']}; make the clip again") from None
        where = ".".join(map(str, mistake["loc"])) or "the file"
        raise RecipeError(f"{path}: describes no clip: {where}: {mistake['msg']}; make it again") from None
    if not (clip.fps or clip.snapshots):
        raise RecipeError(f"{path}: describes a clip of 0 frames a second; make it again")
    return clip
