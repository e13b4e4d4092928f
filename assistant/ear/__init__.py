"""Spoken questions: who speaks, until when, and what was said. Nothing that is heard leaves this machine or is kept."""
