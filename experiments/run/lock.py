"""One process at a time writes into a folder: a lock that the operating system holds.

The system releases the lock when its process ends in any way, so that a kill leaves nothing that
stands in the way of the next one. The lock file stays behind; it says who holds the lock, for the
message only. Systems without ``fcntl`` (Windows) and file systems without locks are warned of.
"""

from __future__ import annotations

import errno
import os
import platform
import time
import warnings
from pathlib import Path

from neoteny.core.errors import InputError
from neoteny.experiments.run.provenance import command

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["LOCK", "FolderLock"]

LOCK = ".lock"
"""Name of the lock file in a folder that is written to."""

_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)

_held: set[int] = set()
"""Descriptors of the locks that this process holds."""


def _forget() -> None:
    """Close a forked child's copies, which would hold the locks after their owner's death."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


class FolderLock:
    """Holds a folder, which it makes, from `__enter__` to `__exit__`.

    Raises:
        InputError: On entering, if another process holds the folder, or it cannot be written to.

    Warns:
        UserWarning: On entering, if the folder's file system has no locks.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / LOCK
        self._descriptor = -1

    def __enter__(self) -> FolderLock:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            reason = error.strerror or error
            raise InputError(
                f"cannot write in {self.folder} ({reason}); choose another --out"
            ) from None
        _held.add(descriptor)
        self._descriptor = descriptor
        try:
            _lock(descriptor, self.folder)
            self._sign()
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._release()

    @classmethod
    def require_free(cls, folder: Path) -> None:
        """Refuse a folder that another process holds, before anything is built or written.

        Raises:
            InputError: If it is held; the message names the owner.
        """
        try:
            descriptor = os.open(folder / LOCK, os.O_RDONLY)
        except OSError:
            return
        try:
            _lock(descriptor, folder, shared=True)
        finally:
            os.close(descriptor)

    @property
    def holds(self) -> bool:
        """True if the folder at its path is still the one that is held, not moved or removed."""
        held = os.fstat(self._descriptor)
        try:
            there = os.stat(self._path)
        except OSError:
            return False
        return (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino)

    def _sign(self) -> None:
        """Leave a note of who holds the lock; a disk that is full takes none."""
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        note = f"process {os.getpid()} on {platform.node()} since {since} ({command()})\n"
        try:
            os.ftruncate(self._descriptor, 0)
            os.write(self._descriptor, note.encode(errors="replace"))
        except OSError:
            pass

    def _release(self) -> None:
        if self._descriptor in _held:  # not so in a forked child
            _held.remove(self._descriptor)
            os.close(self._descriptor)


def _lock(descriptor: int, folder: Path, shared: bool = False) -> None:
    """Lock an open lock file at once or raise; a shared lock only asks if there is another."""
    try:
        if fcntl is None:
            raise OSError(errno.ENOSYS, "no fcntl")
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        note = " ".join(os.read(descriptor, 4096).decode(errors="replace").split())
        raise InputError(
            f"{folder} is in use by {note or 'another process'}; wait until that has ended "
            "or choose another --out"
        ) from None
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        if not shared:
            warnings.warn(
                f"{folder} cannot be locked here: see to it that no second process writes there",
                stacklevel=3,
            )
