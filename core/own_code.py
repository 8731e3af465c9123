"""Running a user's code: a Python file or a module, named in the command itself."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from neoteny.core.errors import InputError


@contextmanager
def naming(what: str) -> Iterator[None]:
    """Let errors of a user's code say where they come from, and keep their traceback.

    Args:
        what: The file, module or environment, in words.

    Raises:
        InputError: If the code does so, or calls `sys.exit`.
    """
    try:
        yield
    except SystemExit as stop:
        raise InputError(f"{what} calls sys.exit({stop.code!r}): let it return instead") from stop
    except InputError as error:
        raise InputError(f"{what}: {error}") from error
    except Exception as error:
        error.add_note(f"raised by {what}")
        raise


def run_file(path: Path) -> dict[str, Any]:
    """Run a Python file as a module of its own.

    Args:
        path: The file.

    Returns:
        Its globals.

    Raises:
        InputError: If it cannot be read, or is not Python.
    """
    try:
        code = compile(path.read_bytes(), str(path), "exec")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; give another file") from None
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        where = f"{path}:{line}" if (line := getattr(error, "lineno", None)) else str(path)
        reason = getattr(error, "msg", None) or str(error)
        raise InputError(f"{where}: is not Python: {reason}") from error
    # Under a name of its own, so that classes can be pickled and annotations looked up.
    module = types.ModuleType(f"own_{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    with naming(str(path)):
        exec(code, module.__dict__)
    return module.__dict__


def run_module(name: str) -> None:
    """Import a module, from the folder where the command was given if it is there.

    Raises:
        InputError: If there is none of that name.
    """
    if not all(part.isidentifier() for part in name.split(".")):
        raise InputError(f"{name!r} is no module's name: name a module, or a .py file")
    sys.path.append("")
    try:
        with naming(f"module {name}"):
            importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name + ".").startswith(error.name + "."):
            raise InputError(f"there is no module {name}: name one, or a .py file") from error
        raise
    finally:
        sys.path.remove("")
