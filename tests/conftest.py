"""What every test relies on: one CPU thread for torch (tiny models only wait for each other with more).

Without a GPU the kernels are interpreted, which Triton must know before anything imports it.
"""

import os
import shutil

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
if shutil.which("nvidia-smi") is None:
    os.environ.setdefault("TRITON_INTERPRET", "1")
