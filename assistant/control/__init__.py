"""The daemon's control socket: one instance a user, JSON lines, answers that stream. Knows only a `Handler`."""
