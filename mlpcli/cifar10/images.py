"""Reads an image of a common format, in the layout of CIFAR-10."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from mlpcli.errors import DataError
from mlpcli.files import open_regular, reason

# Of Pillow's many formats those that people have; each more is code for a hostile file to reach.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "PPM", "TIFF")
EXPECTED = "expected PNG, JPEG, WebP, GIF, BMP, PPM or TIFF"

MAX_BYTES = 2**28
STDIN = Path("/dev/stdin")
MAX_PIXELS = 10**8  # 400 MB once unpacked

logging.getLogger("PIL").addHandler(logging.NullHandler())  # errors are reported here


def read(path: Path) -> NDArray[np.uint8]:
    """Return an image as uint8 (3072,): its red, green and blue planes of 32×32, row by row.

    It is rotated upright as its EXIF data say, composed with white where it is transparent, and its
    central square is resized. Raises DataError for anything but a valid image in a regular file
    or in standard input, `/dev/stdin`.
    """
    expected = f"expected at most {MAX_PIXELS:,} pixels"
    try:
        with _open(path) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, about what is unusual but valid
            size = file.seek(0, os.SEEK_END)
            if size > MAX_BYTES:
                raise DataError(f"{path}: expected at most {MAX_BYTES:,} bytes, found {size:,}")
            with Image.open(file, formats=FORMATS) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:
                    raise DataError(f"{path}: {expected}, found {width}×{height}")
                image.load()
                small = _small(image)
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: no such image") from None
    except UnidentifiedImageError:
        raise DataError(f"{path}: not an image of a known format; {EXPECTED}") from None
    except Image.DecompressionBombError:  # Pillow's own limit, which it checks first
        raise DataError(f"{path}: {expected}, found far more") from None
    except Exception as error:  # whatever a truncated, corrupt or hostile file leads to
        what = "read" if isinstance(error, OSError) and error.strerror else "read as an image"
        raise DataError(f"{path}: cannot be {what}: {reason(error)}") from None
    planes: NDArray[np.uint8] = np.asarray(small).transpose(2, 0, 1).reshape(3072)
    return planes


def _open(path: Path) -> IO[bytes]:
    """Open a regular file, or what comes through standard input, up to a byte too many."""
    if path == STDIN:
        return io.BytesIO(sys.stdin.buffer.read(MAX_BYTES + 1))
    return open_regular(path)


def _small(image: Image.Image) -> Image.Image:
    """Return the central square as RGB, 32×32, upright and opaque; `image` may be changed."""
    if image.format != "TIFF":  # Pillow has rotated a TIFF already
        with contextlib.suppress(Exception):  # corrupt EXIF data are ignored
            ImageOps.exif_transpose(image, in_place=True)
    small = ImageOps.fit(_colored(image), (32, 32), Image.Resampling.BICUBIC)
    if small.mode == "RGBA":
        white = Image.new("RGBA", small.size, "white")
        small = Image.alpha_composite(white, small).convert("RGB")
    return small


def _colored(image: Image.Image) -> Image.Image:
    """Return the image as RGB, or as RGBA where it may be transparent."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        # Pillow would clip 16 bits at 255.
        grays = np.rint(np.asarray(image) / 257)
        return Image.fromarray(grays.astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError("its numbers have no known white; expected 8 or 16 bits per channel")
    mode = "RGBA" if image.has_transparency_data else "RGB"
    return image if image.mode == mode else image.convert(mode)
