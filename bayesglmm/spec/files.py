"""Open a stranger's files: of a sane size, regular, and none outside the model file's own folder."""

from __future__ import annotations

import gzip
import os
import stat
import tomllib
import zlib
from io import BytesIO
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from bayesglmm.errors import SpecError

#: Bytes of a model file, and of a data file once unpacked.
MAX_MODEL_BYTES = 256 * 1024
MAX_DATA_BYTES = 512 * 1024 * 1024
#: Dots on one line of a model file: tomllib needs time beyond the square of the parts of a dotted key.
MAX_DOTS = 200
DATA_SUFFIXES = (".csv", ".csv.gz")


def read_toml(path: Path) -> dict[str, Any]:
    """Read a model file as plain TOML.

    Raises
    ------
    SpecError
        No such file, too big, not UTF-8, or not TOML (with the line).
    """
    try:
        text = _regular(path, "the model file", MAX_MODEL_BYTES).decode("utf-8")
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: not UTF-8 text (byte {error.start}); a model file is a TOML text.") from None
    for k, line in enumerate(text.splitlines(), 1):
        if line.count(".") > MAX_DOTS:
            raise SpecError(f"{path}: line {k} has more than {MAX_DOTS} dots; break it up.")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{path}: not readable as TOML: {error}.") from None
    except RecursionError:
        raise SpecError(f"{path}: nested too deeply.") from None
    except ValueError as error:  # an integer of thousands of digits
        raise SpecError(f"{path}: not readable as TOML: {error}") from None


def read_data_bytes(folder: Path, file: str) -> bytes:
    """Content of a data file named in a model file, unpacked.

    Parameters
    ----------
    folder : Path
        The model file's folder; nothing outside it is opened.
    file : str
        A relative path.

    Raises
    ------
    SpecError
        A path that is absolute, climbs out of the folder (itself or through a link), is a URL, does not exist, or
        is of another type; a file that is too big or not readable.
    """
    path = _inside(folder, file)
    place = f"data.file {file!r}"
    raw = _regular(path, place, MAX_DATA_BYTES)
    if not file.lower().endswith(".gz"):
        return raw
    try:
        # zlib inflates at most a thousandfold: reading stops at the limit, whatever the archive claims.
        with gzip.GzipFile(fileobj=BytesIO(raw)) as stream:
            content = stream.read(MAX_DATA_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise SpecError(f"{place} is not a readable gzip file: {error}.") from None
    if len(content) > MAX_DATA_BYTES:
        raise SpecError(f"{place} unpacks to more than {MAX_DATA_BYTES // 2**20} MiB; load it yourself and use Model.")
    return content


def _inside(folder: Path, file: str) -> Path:
    """Return the real path of `file` under `folder`, or refuse."""
    place = f"data.file {file!r}"
    rule = "give a path relative to the model file, inside its folder"
    windows = PureWindowsPath(file)
    if "\0" in file or "://" in file or file.startswith("~"):
        raise SpecError(f"{place} is not a plain file name; {rule}.")
    if PurePosixPath(file).is_absolute() or windows.drive or windows.root:
        raise SpecError(f"{place} is an absolute path; {rule}.")
    if ".." in windows.parts:  # splits on both / and \
        raise SpecError(f"{place} leads out of the model file's folder; {rule}.")
    if not file.lower().endswith(DATA_SUFFIXES):
        raise SpecError(f"{place} is not {' or '.join(DATA_SUFFIXES)}, the kinds a model file can name.")
    try:
        home = folder.resolve(strict=True)
        path = (home / file).resolve(strict=True)
    except (OSError, RuntimeError, ValueError):  # missing, a loop of links, a name too long
        raise SpecError(f"{place} does not exist in {folder}.") from None
    if not path.is_relative_to(home):
        raise SpecError(f"{place} is a link that leads out of the model file's folder; {rule}.")
    return path


def _regular(path: Path, what: str, limit: int) -> bytes:
    """Content of a regular file of at most `limit` bytes; no pipes, no devices."""
    try:
        # Non-blocking, so that a named pipe is refused below instead of waited on.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise SpecError(f"{what}: no file {str(path)!r}.") from None
    except (OSError, ValueError) as error:
        raise SpecError(f"{what} cannot be opened: {error}.") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise SpecError(f"{what}: {str(path)!r} is not a regular file.")
    with os.fdopen(descriptor, "rb") as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        size = f"{limit // 2**20} MiB" if limit >= 2**20 else f"{limit // 1024} KiB"
        raise SpecError(f"{what}: {str(path)!r} is larger than {size}.")
    return content
