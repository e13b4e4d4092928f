"""What names of video files end with."""

VIDEO_SUFFIXES = (
    *(".mp4", ".mov", ".m4v", ".3gp", ".mkv", ".webm", ".avi", ".wmv", ".flv", ".ogv"),
    *(".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".vob", ".mjpeg", ".mjpg", ".h264", ".hevc"),
)
"""In lower case, the point included. What a folder holds besides them is no recording to `python -m train prepare`."""
