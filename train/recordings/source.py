"""What the user names as a source: a folder of videos with subtitles, a list, or a journal."""

import json
from collections import defaultdict
from pathlib import Path

from model.video.endings import VIDEO_SUFFIXES
from train.recordings.journal import read_journal
from train.recordings.lines import read_list
from train.recordings.record import Readout, Recording, RecordingsError, read_text, refuse_all
from train.recordings.subtitles import SUBTITLE_SUFFIXES, read_subtitles


def read_source(source: Path) -> Readout:
    """All recordings of a source, in order. Raises RecordingsError with a line for every mistake."""
    if source.is_dir():
        reading = read_folder(source)
    elif source.is_file() and source.suffix.lower() in (".jsonl", ".ndjson", ".json"):
        reading = read_journal(source) if is_journal(source) else Readout(read_list(source))
    elif source.exists():
        raise RecordingsError(f"{source}: must be a folder of videos with subtitles beside them, or a .jsonl file")
    else:
        raise RecordingsError(f"{source}: is not there; name a folder of videos, or a .jsonl file")
    if not reading.recordings:
        raise RecordingsError("\n".join([f"{source}: holds nothing to learn from", *reading.warnings]))
    return reading


def read_folder(folder: Path) -> Readout:
    """Each video of the folder with the subtitles of the same name. One without them is left out, with a warning."""
    videos, narrations = (_by_stem(folder, suffixes) for suffixes in (VIDEO_SUFFIXES, SUBTITLE_SUFFIXES))
    recordings, warnings, mistakes = [], [], []
    for stem, found in videos.items():
        beside = narrations.get(stem, [])
        if not beside:
            warnings += [
                f"{video}: has no {stem}.srt, .vtt or .ass beside it and is left out; if nothing is to be said in it, "
                "put an empty one there"
                for video in found
            ]
        elif len(found) > 1 or len(beside) > 1:
            names = ", ".join(path.name for path in (*found, *beside))
            mistakes.append(f"{folder}: {names}: which belongs to which? Give each video a name of its own")
        else:
            try:
                recordings.append(Recording(found[0], read_subtitles(beside[0])))
            except RecordingsError as error:
                mistakes.append(str(error))
    for stem in narrations.keys() - videos.keys():
        warnings.append(
            f"{narrations[stem][0]}: has no video of the same name beside it and is left out; a video's name ends with "
            f"one of {' '.join(VIDEO_SUFFIXES)}"
        )
    refuse_all(mistakes)
    return Readout(tuple(recordings), tuple(sorted(warnings)))


def is_journal(path: Path) -> bool:
    """Whether the first line that can be read is one of a journal's: it has a "kind"."""
    for text in read_text(path).splitlines():
        try:
            values = json.loads(text)
        except json.JSONDecodeError:
            continue
        if isinstance(values, dict):
            return "kind" in values
    return False


def _by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, list[Path]]:
    found = defaultdict(list)
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix.lower() in suffixes and not path.name.startswith("."):
            found[path.stem].append(path)
    return found
