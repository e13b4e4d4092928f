"""What `python -m train` says when it fails."""

import subprocess
import sys
from pathlib import Path

FAILS = """
import sys
from train.scoring import compare
def fail(reports, out):
    raise ZeroDivisionError("division by zero")
compare.compare_reports = fail
from train.cli import main
sys.exit(main(["compare", "a", "--out", "b"]))
"""


def test_a_fault_of_ours_is_one_line_and_its_traceback_is_kept(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    process = subprocess.run([sys.executable, "-c", FAILS], capture_output=True, text=True, timeout=120)
    log = tmp_path / "onlooker" / "log" / "faults.log"
    said = f"a fault of ours: ZeroDivisionError: division by zero; the details are in {log}\n"
    assert (process.returncode, process.stderr) == (1, said)
    assert "in fail" in log.read_text()
    assert log.stat().st_mode & 0o077 == 0
