"""Pictures of an agent's episodes as an animated GIF or an MP4, one frame a step."""

from __future__ import annotations

import importlib.util
import os
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import GifImagePlugin, Image, ImageChops, ImageDraw, ImageFont

from neoteny.core.errors import InputError
from neoteny.experiments.run.folders import atomic_file, storing

__all__ = ["Film", "check_film_path", "write_film"]

Picture = NDArray[np.uint8]

NARROWEST = 320
"""Pixels; smaller frames are enlarged by a whole number."""
BAR = 44
_PAPER, _INK, _GREY = (17, 19, 26), (236, 239, 244), (150, 158, 172)


@dataclass
class Film:
    """One episode: its frames, each kept compressed with the line of text below it.

    Args:
        title: The text's first line, the same for all frames.
    """

    title: str
    _frames: list[tuple[bytes, tuple[int, ...], str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self._frames)

    def add(self, frame: Picture, text: str) -> None:
        """Append a frame (height, width, 3) uint8."""
        packed = zlib.compress(np.ascontiguousarray(frame).tobytes(), 1)
        self._frames.append((packed, frame.shape, text))

    def linger(self, text: str, frames: int) -> None:
        """Show the last frame for some more with another text."""
        self._frames += [(*self._frames[-1][:2], text)] * frames

    def pictures(self) -> Iterator[Picture]:
        """The frames with their texts, all of one size with even sides."""
        for packed, shape, text in self._frames:
            frame = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(shape)
            yield _captioned(frame, self.title, text)


def check_film_path(path: Path) -> None:
    """Refuse a file that cannot be written, before anything is played.

    Raises:
        ValueError: If its ending is unknown, what it needs is not installed, or its folder is not
            there or not writable.
    """
    if path.suffix not in (".gif", ".mp4"):
        raise InputError(f"{path} ends in {path.suffix or 'nothing'}: use .gif or .mp4")
    if path.suffix == ".mp4" and importlib.util.find_spec("imageio_ffmpeg") is None:
        raise InputError(
            f"{path} needs imageio-ffmpeg: pip install imageio-ffmpeg (the extra 'video'), "
            "or write a .gif"
        )
    if not path.parent.is_dir():
        raise InputError(f"{path.parent} is no folder: make it, or choose another --out")
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise InputError(f"{path} cannot be written: choose another --out")


def write_film(path: Path, films: Iterable[Film], fps: float) -> None:
    """Write episodes one after the other; an existing file is replaced all at once.

    Args:
        path: The file, `.gif` or `.mp4`.
        films: At least one, with frames of one size.
        fps: Frames a second. A GIF counts time in hundredths of a second.

    Raises:
        RunError: If the file cannot be written.
    """
    pictures = (picture for film in films for picture in film.pictures())
    if path.suffix == ".gif":
        with atomic_file(path) as file:
            _write_gif(file, pictures, fps)
    else:
        _write_mp4(path, pictures, fps)


def _write_gif(file: BinaryIO, pictures: Iterator[Picture], fps: float) -> None:
    """Frame by frame, since Pillow's own saving holds all frames in memory."""
    milliseconds = 10 * max(2, round(100 / fps))  # players slow down what is shorter
    previous: Image.Image | None = None
    for picture in pictures:
        image = Image.fromarray(picture)
        box = (0, 0, *image.size)
        if previous is not None:
            box = ImageChops.difference(image, previous).getbbox() or (0, 0, 1, 1)
        part = image.crop(box).quantize(256, dither=Image.Dither.NONE)
        if previous is None:
            for block in GifImagePlugin.getheader(part, info={"loop": 0})[0]:
                file.write(block)
        options: dict[str, Any] = {"duration": milliseconds, "include_color_table": True}
        for block in GifImagePlugin.getdata(part, box[:2], **options):
            file.write(block)
        previous = image
    file.write(b";")


def _write_mp4(path: Path, pictures: Iterator[Picture], fps: float) -> None:
    import imageio_ffmpeg

    first = next(pictures)
    height, width = first.shape[:2]
    with storing(path), tempfile.TemporaryDirectory(dir=path.parent) as folder:
        unfinished = str(Path(folder) / path.name)
        encoder = imageio_ffmpeg.write_frames(
            unfinished, (width, height), fps=fps, quality=7, macro_block_size=2
        )
        encoder.send(None)
        encoder.send(first)
        for picture in pictures:
            encoder.send(np.ascontiguousarray(picture))
        encoder.close()
        os.replace(unfinished, path)


def _captioned(frame: Picture, title: str, text: str) -> Picture:
    """A frame, enlarged if it is small, above a bar with two lines of text."""
    scale = -(-NARROWEST // frame.shape[1])
    frame = frame.repeat(scale, axis=0).repeat(scale, axis=1)
    height, width = frame.shape[:2]
    sheet = Image.new("RGB", (width + width % 2, height + height % 2 + BAR), _PAPER)
    sheet.paste(Image.fromarray(frame))
    pen = ImageDraw.Draw(sheet)
    pen.text((10, height + 5), title, _GREY, ImageFont.load_default(12))
    pen.text((10, height + 22), text, _INK, ImageFont.load_default(14))
    return np.asarray(sheet)
