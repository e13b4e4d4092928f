"""Where speech is heard or written: the sound device, WAV files."""
