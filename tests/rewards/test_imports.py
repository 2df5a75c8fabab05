"""Importing the package stays cheap."""

import subprocess
import sys


def test_no_heavy_import():
    code = (
        "import sys, rsdecode.rewards; "
        "print([m for m in ('torch', 'transformers', 'numpy', 'safetensors') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
