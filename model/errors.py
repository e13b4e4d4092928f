"""Errors a person can act on. Every one names what was wrong, the value, and the remedy, in one message.

    OnlookerError            1   something of ours went wrong
    ├── CheckpointError      2   a checkpoint is missing, damaged, or not of a kind we read
    ├── FrameError           2   pixels that are not an image
    ├── VideoError           2   a file or stream was reached, but holds no video that can be decoded
    │   └── VideoMissing     3   it cannot be opened
    ├── StreamError          1   a stream was used against its rules, or its saved file does not fit
    ├── WeightsError         3   named weights cannot be fetched, verified or kept
    │   └── HubUnreachable   3   the model hub does not answer, or not as it should
    ├── OutputError          2   a file we were told to write cannot be written, or must not be
    └── MissingDependency    3   an optional package or library that was asked for is not installed

The number is the exit code of a command that ends with that error.
"""


class OnlookerError(Exception):
    """The base of all of them; `str(error)` is the whole message for the user.

    exit_code: what the command line ends with (0 done, 1 our fault, 2 the command or the configuration is
    wrong, 3 something it needs is missing).
    """

    exit_code: int = 1


class CheckpointError(OnlookerError):
    """A checkpoint is missing, damaged, or does not fit the model it is loaded into."""

    exit_code = 2


class FrameError(OnlookerError):
    """A frame's pixels have a shape or type that is not an image."""

    exit_code = 2


class VideoError(OnlookerError):
    """A file or stream was reached, but holds no video that can be decoded."""

    exit_code = 2


class VideoMissing(VideoError):
    """A file or stream cannot be opened, or was lost."""

    exit_code = 3


MEMORY_MARKS = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


def is_of_memory(error: BaseException) -> bool:
    """Whether a GPU had no room for something. torch says so in several ways, not all of them an OutOfMemoryError."""
    is_marked = isinstance(error, RuntimeError) and any(mark in str(error) for mark in MEMORY_MARKS)
    return is_marked or type(error).__name__ == "OutOfMemoryError"


class StreamError(OnlookerError):
    """A stream was used against its rules, or a saved stream does not fit this model."""


class WeightsError(OnlookerError):
    """Named weights cannot be fetched, verified, converted or kept."""

    exit_code = 3


class HubUnreachable(WeightsError):
    """The model hub does not answer, or says something that nobody expects."""


class OutputError(OnlookerError):
    """A file that was to be written cannot be (no permission, no space left), or must not be, being another's."""

    exit_code = 2


class MissingDependency(OnlookerError):
    """Something optional was asked for whose package or library is not installed."""

    exit_code = 3
