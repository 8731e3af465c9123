"""Labelled images for supervised streams: scikit-learn's digits, and MNIST and CIFAR from files."""

import gzip
import math
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neoteny.core.errors import InputError

DATA = Path("data")
"""Folder of the files unless a path is given."""

_IDX_BYTES = 0x08
_PICKLED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("_codecs", "encode"),
}
"""All that CIFAR's pickles may name; anything else could be a program."""


@dataclass(frozen=True)
class Dataset:
    """Images and their classes."""

    images: Tensor
    """(n, height, width, channels) uint8."""
    labels: Tensor
    """(n,) int64."""
    classes: int
    """Number of classes."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, ...]:
        """(height, width, channels)."""
        return tuple(self.images.shape[1:])

    def moments(self) -> tuple[float, float]:
        """Mean and standard deviation over all pixels of all images."""
        count = self.images.numel()
        parts = torch.split(self.images, 4096)
        mean = float(sum(part.sum(dtype=torch.int64) for part in parts)) / count
        squares = float(sum((part.double() - mean).square().sum() for part in parts))
        return mean, math.sqrt(squares / count)

    def first(self, count: int) -> "Dataset":
        """The first `count` images.

        Raises:
            ValueError: if there are fewer, or `count` is not positive.
        """
        if not 0 < count <= len(self):
            raise InputError(f"images is {count}: the data set has {len(self)}, give 1 to that")
        return Dataset(self.images[:count], self.labels[:count], self.classes)

    def to(self, device: torch.device | str) -> "Dataset":
        """The same on a device."""
        return Dataset(self.images.to(device), self.labels.to(device), self.classes)


def load_dataset(name: str, path: Path | str | None = None) -> Dataset:
    """Load a data set's training images.

    Args:
        name: one of `DATASETS`.
        path: folder of the files, unset `data`; their usual subfolders are searched as well.

    Raises:
        ValueError: if the name is unknown, or files are missing or not what they should be.
    """
    if name not in DATASETS:
        raise InputError(f"data set {name!r} is unknown: use one of {', '.join(DATASETS)}")
    return DATASETS[name](DATA if path is None else Path(path))


def _digits(_: Path) -> Dataset:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise InputError(
            "digits come with scikit-learn, which is not there: pip install 'neoteny[supervised]'"
        ) from error
    found = load_digits()
    return _dataset(found.images.astype(np.uint8)[..., None], found.target, 10)


def _mnist(path: Path) -> Dataset:
    images, labels = (
        _idx(_find(path, ("", "MNIST/raw", "mnist"), (name, name.replace("-idx", ".idx"))))
        for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
    )
    return _dataset(images[..., None], labels, 10)


def _cifar(path: Path, folder: str, files: tuple[str, ...], key: bytes, classes: int) -> Dataset:
    parts = [_unpickle(_find(path, ("", folder), (name,))) for name in files]
    planes = np.concatenate([part[b"data"] for part in parts]).reshape(-1, 3, 32, 32)
    labels = np.concatenate([np.asarray(part[key]) for part in parts])
    return _dataset(np.moveaxis(planes, 1, -1), labels, classes)


def _cifar10(path: Path) -> Dataset:
    files = tuple(f"data_batch_{part}" for part in range(1, 6))
    return _cifar(path, "cifar-10-batches-py", files, b"labels", 10)


def _cifar100(path: Path) -> Dataset:
    return _cifar(path, "cifar-100-python", ("train",), b"fine_labels", 100)


DATASETS: dict[str, Callable[[Path], Dataset]] = {
    "digits": _digits,
    "mnist": _mnist,
    "cifar10": _cifar10,
    "cifar100": _cifar100,
}
"""Name to loader of a folder."""


def _dataset(images: NDArray[Any], labels: NDArray[Any], classes: int) -> Dataset:
    if len(images) != len(labels):
        raise InputError(
            f"{len(images)} images but {len(labels)} labels: files of two data sets are mixed"
        )
    return Dataset(
        torch.from_numpy(np.array(images, np.uint8, order="C")),
        torch.from_numpy(labels.astype(np.int64)),
        classes,
    )


def _find(path: Path, folders: tuple[str, ...], names: tuple[str, ...]) -> Path:
    """The first of some file names, compressed or not, that lies in one of some folders."""
    for folder in folders:
        for name in names:
            for file in (path / folder / name, path / folder / f"{name}.gz"):
                if file.is_file():
                    return file
    raise InputError(
        f"{names[0]} is not in {path.absolute()}: put the data set's files there, "
        "or name their folder with --env-option data=PATH"
    )


def _read(file: Path) -> bytes:
    try:
        return gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    except (OSError, EOFError) as error:
        raise InputError(f"cannot read {file}: {error}; download it again") from None


def _idx(file: Path) -> NDArray[np.uint8]:
    """An array of bytes in the IDX format of http://yann.lecun.com/exdb/mnist."""
    content = _read(file)
    axes = content[3] if len(content) > 3 else 0
    shape = tuple(np.frombuffer(content[4 : 4 + 4 * axes], ">i4").tolist())
    if content[:3] != bytes((0, 0, _IDX_BYTES)) or len(content) != 4 + 4 * axes + math.prod(shape):
        raise InputError(f"{file} is no IDX file of bytes, or not whole; download it again")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)


class _ArraysOnly(pickle.Unpickler):
    """Reads arrays and refuses everything that a pickle could run."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _PICKLED:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return super().find_class(module, name)


def _unpickle(file: Path) -> dict[bytes, Any]:
    """One batch of CIFAR's python version."""
    try:
        content: dict[bytes, Any] = _ArraysOnly(BytesIO(_read(file)), encoding="bytes").load()
    except (pickle.UnpicklingError, EOFError, IndexError) as error:
        raise InputError(f"{file} is no batch of CIFAR: {error}; download it again") from None
    return content
