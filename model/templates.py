"""How each family of checkpoints writes a dialogue, as data: what stands between turns, what means silence.

`model.grammar` turns it into ids. Texts here may name special tokens; texts of people never can.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Place = Literal["system", "frame", "user", "assistant"]


@dataclass(frozen=True)
class Template:
    """One family.

    opening: between the beginning-of-sequence and the system prompt. between: what stands between two neighbours, but
    for what begins a reply, which is `reply_header`; what stands between two frames is the spec's. reply_gap: between
    that header and the reply's words. special_tokens: all that these texts name.
    writes_header: the model writes a reply's header itself; otherwise it is put before it.
    answers_after_frame: a question stands before the next frame, after which it is answered or not, like anything else;
    otherwise it is answered at once.
    feeds_reply_end: a reply's end-of-sequence is in the cache of a running stream (in training it always is).
    silence_is_likeliest: silence is kept if it is the likeliest token and at least as probable as the threshold;
    otherwise if it is more probable than the threshold, whatever is the likeliest. The reply then begins with the
    likeliest token that is not silence.
    learns_last_frame: silence is learned after the last frame of a dialogue that ends in frames.
    strips: texts stand without spaces around them.
    """

    system_prompt: str
    opening: str
    between: Mapping[tuple[Place, Place], str]
    reply_header: str
    reply_gap: str
    frame_text: str
    special_tokens: tuple[str, ...] = ()
    writes_header: bool = False
    answers_after_frame: bool = False
    feeds_reply_end: bool = True
    silence_is_likeliest: bool = True
    learns_last_frame: bool = True
    strips: bool = False


VIDEOLLM_ONLINE = Template(
    system_prompt=(
        "A multimodal AI assistant is helping users with some activities. Below is their conversation, "
        "interleaved with the list of video frames received by the assistant."
    ),
    opening="",
    between={
        ("system", "frame"): "\n\n[",
        ("system", "user"): "\n\nUser: ",
        ("system", "assistant"): "\n\n",
        ("frame", "user"): "]\nUser: ",
        ("frame", "assistant"): "]\n",
        ("user", "assistant"): "\n",
        ("user", "frame"): "\n[",
        ("user", "user"): "\nUser: ",
        ("assistant", "frame"): "\n[",
        ("assistant", "user"): "\nUser: ",
        ("assistant", "assistant"): "\n",
    },
    reply_header="Assistant:",
    reply_gap=" ",
    frame_text="<v>",
)
"""VideoLLM-online (CVPR 2024), section 3.2 and the chat template of its published weights."""

_USER = "<|start_header_id|>user<|end_header_id|>\n\n"

PROASSIST = Template(
    system_prompt=(
        "You are a helpful and proactive assistant. Always be ready to assist and provide useful information ahead of "
        "time."
    ),
    opening="<|start_header_id|>system<|end_header_id|>\n\n",
    between={
        ("system", "frame"): "<|eot_id|>",
        ("system", "user"): f"<|eot_id|>{_USER}",
        ("system", "assistant"): "<|eot_id|>",
        ("frame", "user"): _USER,
        ("frame", "assistant"): "",
        ("user", "assistant"): "<|eot_id|>",
        ("user", "frame"): "<|eot_id|>",
        ("user", "user"): f"<|eot_id|>{_USER}",
        ("assistant", "frame"): "",
        ("assistant", "user"): _USER,
        ("assistant", "assistant"): "",
    },
    reply_header="<|start_header_id|>assistant<|end_header_id|>\n\n",
    reply_gap="",
    frame_text="<image>",
    special_tokens=("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    writes_header=True,
    answers_after_frame=True,
    feeds_reply_end=False,
    silence_is_likeliest=False,
    learns_last_frame=False,
    strips=True,
)
"""ProAssist (EMNLP 2025): the chat of Llama 3, with frames between its turns."""

TEMPLATES: Mapping[str, Template] = {"videollm-online": VIDEOLLM_ONLINE, "proassist": PROASSIST}
