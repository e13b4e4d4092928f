"""Words to speech: engines, the speaker that says one reply after another, and its thread."""
