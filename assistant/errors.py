"""Errors of the assistant that a person can act on: file, key or device, the value, and the remedy, in one message.

    model.errors.OnlookerError      1   a fault of ours
    ├── UsageError                  2   the command line asks for something that makes no sense
    ├── ConfigError                 2   the configuration is wrong; lists everything that is
    ├── MediaError                  2   a file is there, but is no video we can read
    ├── OutputError (model.errors)  2   a file we were told to write cannot be written
    ├── SourceMissing               3   a file, camera or network stream is not there, or was lost
    ├── DeviceMissing               3   a compute device that was asked for is not there, or has no room
    ├── SpeechError                 3   a voice engine or an output failed (a warning, unless named)
    ├── WorkerFailed                1   a part stopped in a way it must never stop
    ├── journal.file.JournalError   2   the journal is not ours, of a newer version, or in use by another process
    │   └── JournalMissing          3   there is none to read
    └── control.errors: what the commands that talk to the daemon end with

Exit codes of every command: 0 done, 1 a fault of ours, 2 the command or the configuration is wrong, 3
something it needs is missing. Ctrl-C ends with 130.
"""

from model.errors import OnlookerError, OutputError

__all__ = [
    "ConfigError",
    "DeviceMissing",
    "MediaError",
    "OnlookerError",
    "OutputError",
    "SourceMissing",
    "SpeechError",
    "UsageError",
    "WorkerFailed",
]


class UsageError(OnlookerError):
    """The command line asks for something that makes no sense; the message says what would."""

    exit_code = 2


class ConfigError(OnlookerError):
    """The configuration is wrong. `problems` holds one line a wrong key, all of them at once."""

    exit_code = 2

    def __init__(self, problems: list[str]):
        super().__init__("\n".join(problems))
        self.problems = problems


class MediaError(OnlookerError):
    """A file or stream was reached, but holds no video that can be decoded."""

    exit_code = 2


class SourceMissing(OnlookerError):
    """A file, camera or network stream is not there, cannot be opened, or was lost on the way."""

    exit_code = 3


class DeviceMissing(OnlookerError):
    """A compute device that was asked for is not there, or has no room for the model."""

    exit_code = 3


class SpeechError(OnlookerError):
    """A voice engine cannot speak, or the place its speech should go to does not take it."""

    exit_code = 3


class HearingError(OnlookerError):
    """What is heard cannot be made out: a package, its weights or its process is missing."""

    exit_code = 3


class WorkerFailed(OnlookerError):
    """A thread or child process of ours stopped in a way it must never stop."""
