"""A user's own recordings: videos and what is to be said in them, read from subtitles, lists and journals."""
