"""From pictures to words: the encoder and mind threads, when to speak, and the pipeline that wires them to a source."""
