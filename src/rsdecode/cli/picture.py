"""`--picture`: a drawing in a file, whose place is checked before the work that leads to it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rsdecode.cli.messages import print_note, print_warning
from rsdecode.core.errors import ConfigError

if TYPE_CHECKING:
    from rsdecode.evals.report.drawing import Plot

NO_MATPLOTLIB = "no picture without matplotlib: pip install 'rsdecode[report]'"


def check_picture(path: Path) -> None:
    """See that a picture can be written, and make its folder; a warning without matplotlib.

    Raises:
        ConfigError: it cannot.
    """
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ImportError:
        print_warning(NO_MATPLOTLIB)
        return
    kinds = FigureCanvasBase.get_supported_filetypes()
    if path.suffix[1:].lower() not in kinds:
        raise ConfigError(
            f"--picture {path}: the name must end with the kind of picture, such as .png, .svg or "
            ".pdf"
        )
    there = path.exists()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("ab").close()
    except OSError as error:
        raise ConfigError(f"--picture {path}: cannot be written: {error.strerror}") from error
    if not there:
        path.unlink()


def draw_picture(plot: Plot, path: Path) -> None:
    """Draw it, where matplotlib is installed, and say where it is.

    Raises:
        ConfigError: it cannot be written.
    """
    from rsdecode.evals.report.drawing import save

    try:
        save(plot, path)
    except ImportError:
        return  # told before
    except OSError as error:
        raise ConfigError(f"--picture {path}: cannot be written: {error.strerror}") from error
    print_note(f"picture: {path}")
