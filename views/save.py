"""A figure as the bytes of a file. The same figure gives the same bytes."""

import io
import warnings

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngImageFile, PngInfo

from plot_utils import project_style

FIGURE_FORMATS = ("png", "pdf", "svg")
DPI = 120
PALETTE_SIZE = 256
COMPRESSION = 8  # of 9 levels: the last takes twice the time for 1 % of the size
DATES = {"pdf": "CreationDate", "svg": "Date"}  # which metadata of a format would change from day to day


def figure_bytes(figure: Figure, form: str = "png", texts: dict[str, str] | None = None) -> bytes:
    """The figure in one of ``FIGURE_FORMATS``; ``texts`` are stored in a PNG, where ``png_texts`` finds them.

    Raises ValueError for another format.
    """
    if form not in FIGURE_FORMATS:
        raise ValueError(f"unknown figure format {form!r}; choose from {', '.join(FIGURE_FORMATS)}")
    with project_style(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # of a text in another script: drawn as a box
        if form == "png":
            return _small_png(_pixels(figure), texts or {})
        drawn = io.BytesIO()
        figure.savefig(drawn, format=form, dpi=DPI, metadata={DATES[form]: None})
    return drawn.getvalue()


def _pixels(figure: Figure) -> Image.Image:
    """The figure drawn once; ``savefig`` draws it twice, the first time for its layout alone."""
    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def _small_png(image: Image.Image, texts: dict[str, str]) -> bytes:
    """A PNG with a palette, which is much smaller."""
    stored = PngInfo()
    for name, text in texts.items():
        stored.add_text(name, text)
    small = io.BytesIO()
    _with_palette(image).save(small, format="png", compress_level=COMPRESSION, pnginfo=stored)
    return small.getvalue()


def _with_palette(image: Image.Image) -> Image.Image:
    """The image in its ``PALETTE_SIZE`` colours.

    Medians would keep frequent colours and blend rare ones, such as a marker's; this method spans the range of
    colours. Each is then moved to the mean of the pixels that have it, so that frequent colours are right too.
    """
    few = image.quantize(PALETTE_SIZE, Image.Quantize.MAXCOVERAGE)
    index = np.asarray(few).ravel()
    count = np.maximum(np.bincount(index, minlength=PALETTE_SIZE), 1)
    sums = [np.bincount(index, channel.ravel(), PALETTE_SIZE) for channel in np.moveaxis(np.asarray(image), -1, 0)]
    few.putpalette(np.rint(np.stack(sums, axis=-1) / count[:, None]).astype(np.uint8).tobytes())
    return few


def png_texts(payload: bytes) -> dict[str, str]:
    """The texts that are stored in a PNG; none if it is no whole PNG."""
    try:
        with PngImageFile(io.BytesIO(payload)) as image:
            image.load()
            return dict(image.text)
    except (SyntaxError, OSError):  # what PIL raises of other bytes and of a file that was cut off
        return {}
