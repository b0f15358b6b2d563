"""A figure as the bytes of a file. The same figure gives the same bytes."""

import io

from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngImageFile, PngInfo

from plot_utils import project_style

FIGURE_FORMATS = ("png", "pdf", "svg")
DPI = 120
PALETTE_SIZE = 256
DATES = {"pdf": "CreationDate", "svg": "Date"}  # which metadata of a format would change from day to day


def figure_bytes(figure: Figure, form: str = "png", texts: dict[str, str] | None = None) -> bytes:
    """The figure in one of ``FIGURE_FORMATS``; ``texts`` are stored in a PNG, where ``png_texts`` finds them.

    Raises ValueError for another format.
    """
    if form not in FIGURE_FORMATS:
        raise ValueError(f"unknown figure format {form!r}; choose from {', '.join(FIGURE_FORMATS)}")
    drawn = io.BytesIO()
    with project_style():
        figure.savefig(drawn, format=form, dpi=DPI, metadata={DATES[form]: None} if form in DATES else None)
    return _small_png(drawn, texts or {}) if form == "png" else drawn.getvalue()


def _small_png(drawn: io.BytesIO, texts: dict[str, str]) -> bytes:
    """A PNG with a palette, which is much smaller. Medians would keep frequent colours and blend rare ones, such as a
    marker's; this method spans the range of colours, and one step of k-means moves the palette onto those in use."""
    stored = PngInfo()
    for name, text in texts.items():
        stored.add_text(name, text)
    small = io.BytesIO()
    with Image.open(drawn) as image:
        few = image.convert("RGB").quantize(PALETTE_SIZE, Image.Quantize.MAXCOVERAGE, kmeans=1)
        few.save(small, format="png", optimize=True, pnginfo=stored)
    return small.getvalue()


def png_texts(payload: bytes) -> dict[str, str]:
    """The texts that are stored in a PNG; none if it is no whole PNG."""
    try:
        with PngImageFile(io.BytesIO(payload)) as image:
            image.load()
            return dict(image.text)
    except (SyntaxError, OSError):  # what PIL raises of other bytes and of a file that was cut off
        return {}
