"""Another simulated world, for measuring only: other hands, eyes, motion and rooms; nothing is trained on it."""
