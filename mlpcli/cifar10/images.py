"""Pictures: any file that Pillow opens, as the network sees an image of CIFAR-10."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from mlpcli.errors import DataError, in_one_line
from mlpcli.files import open_regular

MAX_BYTES = 2**28
MAX_PIXELS = 10**8  # 400 MB once unpacked

ORIENTATION = 0x0112  # the EXIF tag that says how a camera was held
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

logging.getLogger("PIL").addHandler(logging.NullHandler())  # what is wrong is said here


def read(path: Path) -> NDArray[np.uint8]:
    """Return a picture as uint8 (3072,): its red, green and blue planes of 32×32, row by row.

    It is turned as its EXIF data say, put on white where it is transparent, and its middle square
    is resized. Raises DataError for anything but a whole picture in a regular file.
    """
    try:
        with open_regular(path) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, on what is odd and not wrong
            size = os.fstat(file.fileno()).st_size
            if size > MAX_BYTES:
                raise DataError(f"{path}: expected at most {MAX_BYTES:,} bytes, found {size:,}")
            with Image.open(file, formats=_formats()) as picture:
                width, height = picture.size
                if width * height > MAX_PIXELS:
                    found = f"found {width}×{height}"
                    raise DataError(f"{path}: expected at most {MAX_PIXELS:,} pixels, {found}")
                picture.load()
                small = _small(picture)
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: no such picture") from None
    except UnidentifiedImageError:
        raise DataError(f"{path}: not a picture of a known format") from None
    except Image.DecompressionBombError:  # Pillow's own limit, where it looks before this does
        raise DataError(f"{path}: expected at most {MAX_PIXELS:,} pixels, found far more") from None
    except Exception as error:  # whatever a torn, foreign or crafted file leads to
        if isinstance(error, OSError) and error.strerror:
            raise DataError(f"{path}: cannot be read: {error.strerror}") from None
        reason = in_one_line(error)
        raise DataError(f"{path}: cannot be read as a picture: {reason}") from None
    planes: NDArray[np.uint8] = np.asarray(small).transpose(2, 0, 1).reshape(3072)
    return planes


def _formats() -> list[str]:
    """Return what Pillow reads by itself: for EPS it starts Ghostscript, a program of its own."""
    Image.init()
    return [name for name in Image.ID if name != "EPS"]


def _small(picture: Image.Image) -> Image.Image:
    """Return the middle square as RGB, 32×32, upright and opaque."""
    orientation = 1
    if picture.format != "TIFF":  # which Pillow has turned already
        with contextlib.suppress(Exception):  # broken EXIF data turn nothing
            orientation = picture.getexif().get(ORIENTATION, 1)
    colored = _colored(picture)
    width, height = colored.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    small = colored.resize((32, 32), Image.Resampling.BICUBIC, box)
    if small.mode == "RGBA":
        white = Image.new("RGBA", small.size, "white")
        small = Image.alpha_composite(white, small).convert("RGB")
    return small.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else small


def _colored(picture: Image.Image) -> Image.Image:
    """Return the picture as RGB, or as RGBA where it may be transparent."""
    mode, is_transparent = picture.mode, "transparency" in picture.info
    if mode.startswith("I;16") or (mode == "I" and picture.format in ("PNG", "PPM")):
        # 16 bits, which Pillow would cut off at 255.
        grays = np.rint(np.asarray(picture) / 257)
        return Image.fromarray(grays.astype(np.uint8)).convert("RGB")
    if mode in ("I", "F"):
        raise ValueError("its numbers have no known white; expected 8 or 16 bits a channel")
    if mode in ("RGBA", "RGBa", "LA", "La", "PA") or is_transparent:
        return picture if mode == "RGBA" else picture.convert("RGBA")
    return picture if mode == "RGB" else picture.convert("RGB")
