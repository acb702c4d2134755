"""Encoded pictures (PNG, JPEG and the like) as arrays of one size."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from auditor.api import LoadError, PositiveInt, param

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

#: Formats that Pillow decodes by itself; of others it may start a program, as Ghostscript of EPS.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
#: What differing shapes are mended with.
ONE_SIZE = "give [data] resize and crop as the model is deployed, or channels where these differ"
_MODES: dict[int, Literal["L", "RGB", "RGBA"]] = {1: "L", 3: "RGB", 4: "RGBA"}


@dataclass(frozen=True, kw_only=True)
class Fitting:
    """How pictures are brought to one size; nothing is done to them that is not asked for."""

    resize: PositiveInt | None = param(
        None, "length of the shorter side in pixels; bilinear, as torchvision's Resize"
    )
    crop: PositiveInt | None = param(
        None, "side of the square that is cut from the centre, in pixels; after `resize`"
    )
    channels: Literal[1, 3, 4] | None = param(
        None, "turn all into 1 (grey), 3 (RGB) or 4 (RGBA) channels"
    )

    def described(self, source: str) -> str:
        """The source for the report, with what was done to the pictures."""
        done = [("resized to", self.resize), ("centre crop", self.crop),
                ("channels", self.channels)]  # fmt: skip
        return ", ".join([source, *(f"{what} {value}" for what, value in done if value)])

    def decode(self, picture: Path | bytes, name: str) -> NDArray[np.uint8]:
        """A file, or what a file holds, as H×W×C (H×W for grey).

        Raises:
            LoadError: it is no picture, or none of 8 bits per channel.
        """
        from PIL import Image

        try:
            file = io.BytesIO(picture) if isinstance(picture, bytes) else picture
            with Image.open(file, formats=FORMATS) as it:
                deep = _sixteen_bits(it)
                it.load()  # which makes 8 bits of a colour picture of 16, and says nothing
                if deep:
                    raise _too_deep("16 bits per channel", name)
                return self.fit(it, name)
        except LoadError:
            raise
        except Exception as error:  # Pillow's decoders raise all sorts
            raise LoadError(
                f"The image cannot be read: {error}.",
                where=name,
                expected="a PNG, JPEG, WebP, BMP, TIFF, GIF or PPM picture",
                remedy="replace it, or remove it from the set",
            ) from None

    def fit(self, picture: Image, name: str) -> NDArray[np.uint8]:
        """A picture as H×W×C (H×W for grey).

        Raises:
            LoadError: it has more than 8 bits per channel, or is smaller than the crop.
        """
        picture = self._in_mode(picture, name)
        if self.resize is not None:
            picture = _shorter_side(picture, self.resize)
        if self.crop is not None:
            picture = _centre(picture, self.crop, name)
        return np.asarray(picture)

    def _in_mode(self, picture: Image, name: str) -> Image:
        if picture.mode.startswith(("I", "F")):
            raise _too_deep(f"the mode {picture.mode!r}, more than 8 bits per channel", name)
        if self.channels is not None:
            return picture.convert(_MODES[self.channels])
        if picture.mode == "1":
            return picture.convert("L")
        if picture.mode in ("P", "PA", "LA"):
            alpha = picture.mode != "P" or "transparency" in picture.info
            return picture.convert("RGBA" if alpha else "RGB")
        if picture.mode in _MODES.values():
            return picture
        raise LoadError(
            f"The image has the mode {picture.mode!r}.",
            where=name,
            expected="grey, RGB or RGBA",
            remedy="channels = 3 turns all into RGB",
        )


def _sixteen_bits(picture: Image) -> bool:
    """Whether a picture that is not loaded yet has 16 bits per channel, grey or colour."""
    tiles = getattr(picture, "tile", None) or ()
    return picture.mode.startswith("I;16") or any(";16" in str(tile[3]) for tile in tiles)


def _too_deep(what: str, name: str) -> LoadError:
    return LoadError(
        f"The image has {what}.",
        where=name,
        expected="8 bits per channel",
        remedy="to audit all its levels use the adapter python and return float pixels: those of "
        "16 bits divided by 65535, or by the sensor's largest value (for colour, "
        "cv2.imread(file, cv2.IMREAD_UNCHANGED) reads them); or convert the files to 8 bits as "
        "the model is deployed",
    )


@contextlib.contextmanager
def only_these_formats() -> Iterator[None]:
    """While code that is not ours opens pictures, Pillow knows no formats but `FORMATS`."""
    from PIL import Image

    Image.init()  # else it would look for more formats once these do not fit
    before = list(Image.ID)
    Image.ID[:] = [name for name in before if name in FORMATS]
    try:
        yield
    finally:
        Image.ID[:] = before


def _shorter_side(picture: Image, length: int) -> Image:
    from PIL import Image

    width, height = picture.size
    short = min(width, height)
    size = (length * width // short, length * height // short)  # rounds as torchvision does
    return picture.resize(size, Image.Resampling.BILINEAR)


def _centre(picture: Image, side: int, name: str) -> Image:
    width, height = picture.size
    if side > min(width, height):
        raise LoadError(
            f"The image has {width} × {height} pixels, less than crop = {side}.",
            where=name,
            expected=f"at least {side} × {side}",
            remedy=f"give resize = {side} or more, or a smaller crop",
        )
    left, top = round((width - side) / 2), round((height - side) / 2)
    return picture.crop((left, top, left + side, top + side))
