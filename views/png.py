"""A figure as a small PNG."""

import io

from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

DPI = 120
COLOUR_STEP = 17
PALETTE_SIZE = 256
BASIS = "Trials"  # a PNG's text that says which trials it is drawn from


def png_bytes(figure: Figure, basis: str | None = None) -> bytes:
    """The figure as a PNG, with ``basis`` among its texts; the same figure gives the same bytes.

    Coarse colours make it half the size, and a palette of them, if there are no more than it holds, half of that.
    """
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI)
    with Image.open(drawn) as image:
        coarse = image.convert("RGB").point(lambda level: round(level / COLOUR_STEP) * COLOUR_STEP)
    if coarse.getcolors(PALETTE_SIZE):
        coarse = coarse.quantize(PALETTE_SIZE)
    told = PngInfo()
    if basis is not None:
        told.add_text(BASIS, basis)
    coarse.save(small, format="png", optimize=True, pnginfo=told)
    return small.getvalue()
