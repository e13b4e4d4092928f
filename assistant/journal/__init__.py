"""The memory of the day: one SQLite file, written by one thread, read by whoever may."""
