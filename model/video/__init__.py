"""Videos as frames on a grid of time, read by PyAV in one way for running and for training.

`reading` opens a video and gives its pictures with their times, `timeline` says what those times are, `grid` which of
them become frames, `upright` how a picture is meant to be shown, and `tone` what a high dynamic range becomes on the
way.
"""
