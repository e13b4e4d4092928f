"""The configuration's keys: their types, ranges and defaults. Pure; no thread, no file (settings.py reads
those).

`config.toml` at the repository's root says the same in words for the user; a test holds the two together.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

SOURCE_NAME = re.compile(r"(?!demo$)[A-Za-z_][A-Za-z0-9_-]{0,39}")
A_SOURCE_NAME = 'letters, digits, - and _ (not "demo"), and what it stands for in quotes, such as "rtsp://…"'


@dataclass(frozen=True)
class Must:
    """What a key's value must be, in words: the end of its error message, and part of its documentation."""

    words: str


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("true and false are not numbers")
    return value


def _device(value: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d{1,2})?", value):
        raise ValueError("not a device")
    return value


def _voice_output(value: str) -> str:
    if value != "auto" and Path(value).suffix.lower() != ".wav":
        raise ValueError("not a .wav file")
    return value


def _wake_word(value: str) -> str:
    if not re.fullmatch(r"[^\W\d_]{2,}( [^\W\d_]{2,}){0,3}", value):
        raise ValueError("not one to four words")
    return value


def _quarter(value: int) -> int:
    if value not in (0, 90, 180, 270):
        raise ValueError("not a quarter turn")
    return value


def _hours(value: list[str]) -> list[str]:
    time = r"([01]?\d|2[0-3]):[0-5]\d"
    if not all(re.fullmatch(f"{time}-{time}", item) for item in value):
        raise ValueError("not ranges of times")
    return value


def _source_name(value: str) -> str:
    if not SOURCE_NAME.fullmatch(value):
        raise ValueError("not a name")
    return value


Number = Annotated[float, BeforeValidator(_no_bool), Field(allow_inf_nan=False)]
Whole = Annotated[int, BeforeValidator(_no_bool)]
Text = Annotated[str, Field(min_length=1, strict=True)]


class Section(BaseModel):
    """One table of the file: unknown keys are refused, values cannot be changed after they were read."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), serialize_by_alias=True)


class ModelSection(Section):
    name: Annotated[
        Text,
        Must('"default", a name of `onlooker model list`, a checkpoint folder, or a model hub name such as "org/name"'),
    ] = "default"
    device: Annotated[Text, AfterValidator(_device), Must('"auto", "cpu", "mps", "cuda" or "cuda:N"')] = "auto"
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        Must('"auto", "float32", "bfloat16" or "float16"'),
    ] = "auto"
    attention: Annotated[
        Literal["auto", "sdpa", "flash_attention_2"],
        Must('"auto", "sdpa" or "flash_attention_2"'),
    ] = "auto"
    engine: Annotated[Literal["auto", "graphs", "plain"], Must('"auto", "graphs" or "plain"')] = "auto"
    weights: Annotated[
        Literal["dtype", "int8", "fp8", "int4"],
        Must('"dtype", "int8", "fp8" or "int4"'),
    ] = "dtype"
    yields: Annotated[bool, Field(alias="yield"), Must("true or false")] = True


class StreamSection(Section):
    fps: Annotated[Number, Field(ge=0.1, le=30), Must("0.1–30")] = 2.0
    silence_threshold: Annotated[
        Literal["checkpoint"] | Annotated[Number, Field(gt=0, lt=1)],
        Must('between 0 and 1 (both excluded), or "checkpoint"'),
    ] = "checkpoint"
    window_tokens: Annotated[Whole, Field(ge=256, le=131072), Must("a whole number, 256–131072")] = 2048
    max_reply_tokens: Annotated[Whole, Field(ge=1, le=1000), Must("a whole number, 1–1000")] = 100
    when_full: Annotated[Literal["window", "summary"], Must('"window" or "summary"')] = "window"
    unfamiliar: Annotated[Literal["silent", "speak"], Must('"silent" or "speak"')] = "silent"

    def threshold(self, checkpoint_threshold: float) -> float:
        """The silence threshold that is meant, 0–1. checkpoint_threshold: what "checkpoint" stands for."""
        return checkpoint_threshold if self.silence_threshold == "checkpoint" else self.silence_threshold


class CaptureSection(Section):
    source: Annotated[
        Text, Must('"camera:N", "camera:/dev/videoN", a video file, "demo", or an address such as "rtsp://…"')
    ] = "camera:0"
    timeout_s: Annotated[Number, Field(ge=0.5, le=120), Must("0.5–120 (seconds)")] = 2.0
    rotate_degrees: Annotated[Whole, AfterValidator(_quarter), Must("0, 90, 180 or 270")] = 0
    mirror: Annotated[bool, Must("true or false")] = False
    tls_verify: Annotated[bool, Must("true or false")] = True


class PolicySection(Section):
    remarks_per_hour: Annotated[
        Literal["auto"] | Annotated[Number, Field(ge=0.5, le=600)], Must('0.5–600, or "auto"')
    ] = "auto"
    min_gap_s: Annotated[Number, Field(ge=0, le=3600), Must("0–3600 (seconds)")] = 1.0
    repeat_after_s: Annotated[Number, Field(ge=0, le=86400), Must("0–86400 (seconds)")] = 20.0
    quiet_hours: Annotated[
        list[str],
        AfterValidator(_hours),
        Must('a list of times of the day such as ["22:00-07:00"]'),
    ] = []
    do_not_disturb: Annotated[bool, Must("true or false")] = False


class VoiceSection(Section):
    enabled: Annotated[bool, Must("true or false")] = True
    engine: Annotated[
        Literal["piper", "pyttsx3", "espeak-ng", "none"], Must('"piper", "pyttsx3", "espeak-ng" or "none"')
    ] = "pyttsx3"
    rate_wpm: Annotated[Whole, Field(ge=80, le=450), Must("a whole number, 80–450 (words a minute)")] = 170
    volume: Annotated[Number, Field(ge=0, le=1), Must("0–1")] = 1.0
    output: Annotated[Text, AfterValidator(_voice_output), Must('"auto", or the path of a .wav file')] = "auto"


class EarSection(Section):
    mode: Annotated[
        Literal["off", "push-to-talk", "wake-word", "open"],
        Must('"off", "push-to-talk", "wake-word" or "open"'),
    ] = "off"
    microphone: Annotated[Text, Must('"auto", or a part of its name')] = "auto"
    wake_word: Annotated[Text, AfterValidator(_wake_word), Must('one to four words, such as "hey onlooker"')] = (
        "hey onlooker"
    )
    model: Annotated[Literal["whisper-tiny.en"], Must('"whisper-tiny.en"')] = "whisper-tiny.en"

    @property
    def microphone_name(self) -> str:
        """A part of the microphone's name; "" for the system's own."""
        return "" if self.microphone == "auto" else self.microphone


class PrivacySection(Section):
    journal: Annotated[bool, Must("true or false")] = False
    retention_days: Annotated[Number, Field(gt=0, le=3650), Must("above 0, up to 3650 (days)")] = 30.0
    thumbnails: Annotated[bool, Must("true or false")] = False


class MetricsSection(Section):
    enabled: Annotated[bool, Must("true or false")] = False
    port: Annotated[Whole, Field(ge=1024, le=65535), Must("a whole number, 1024–65535")] = 9464


class Config(Section):
    """Everything a user can set. `Config()` is the documented default.

    sources: the user's own names, and what each stands for: whatever `capture.source` may be.
    """

    model: ModelSection = ModelSection()
    stream: StreamSection = StreamSection()
    capture: CaptureSection = CaptureSection()
    policy: PolicySection = PolicySection()
    privacy: PrivacySection = PrivacySection()
    voice: VoiceSection = VoiceSection()
    ear: EarSection = EarSection()
    metrics: MetricsSection = MetricsSection()
    sources: dict[Annotated[str, AfterValidator(_source_name)], Text] = Field(default={}, repr=False)


def all_keys() -> dict[str, str]:
    """Every key as "section.key", with what its value must be, in the file's order; but for names of [sources]."""
    keys: dict[str, str] = {}
    for section_name, section in Config.model_fields.items():
        if not (isinstance(section.annotation, type) and issubclass(section.annotation, Section)):
            continue  # [sources] has the keys that the user gives it
        for name, field in section.annotation.model_fields.items():
            key = field.alias or name  # "yield" cannot be a name in Python
            words = [extra.words for extra in field.metadata if isinstance(extra, Must)]
            assert len(words) == 1, f"{section_name}.{key} does not say what it must be"
            keys[f"{section_name}.{key}"] = words[0]
    return keys
