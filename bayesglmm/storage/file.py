"""JSON and arrays in one netCDF file, written at once or not at all, and read with suspicion.

The file is netCDF 4 (so HDF5): any tool for it shows the arrays, and ``manifest``, the JSON as bytes. Before them, in
what HDF5 calls the user block, stands a line that says what the file is, in which format, by which version, how long it
should be, and the SHA-256 of the rest: a file that was cut off or altered is known before the HDF5 library sees it.
Nothing is compressed, so that no small file can ask for much memory.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from bayesglmm.errors import SpecError
from bayesglmm.storage.tree import Array

MAGIC = b"bayesglmm fit "
#: Grows when an older version of the package could misread the file.
SCHEMA = 1
#: Bytes before the HDF5 content.
HEAD = 512


def write_file(path: Path, manifest: dict[str, Any], arrays: list[Array]) -> None:
    """Write a file beside its place and move it there when it is whole.

    Raises
    ------
    SpecError
        When it cannot be written: no such folder, no right to write, no space left.
    """
    import h5netcdf

    text = np.frombuffer(json.dumps(manifest, allow_nan=False).encode(), dtype=np.uint8)
    scratch = None
    try:
        handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        os.close(handle)
        with h5netcdf.File(scratch, "w", userblock_size=HEAD) as file:
            for name, array in [("manifest", text), *((f"array_{k}", a) for k, a in enumerate(arrays))]:
                file.dimensions[f"{name}_size"] = array.size
                file.create_variable(name, (f"{name}_size",), data=array.ravel())
        seal(Path(scratch))
        os.chmod(scratch, 0o666 & ~_umask())
        os.replace(scratch, path)
    except OSError as error:
        raise SpecError(f"the fit could not be written to {str(path)!r}: {error.strerror or error}.") from None
    finally:
        if scratch is not None and os.path.exists(scratch):
            os.unlink(scratch)


def seal(path: Path, schema: int = SCHEMA) -> None:
    """Write the line that says what the file is, and holds its length and checksum."""
    from bayesglmm import __version__

    length, digest = _measure(path)
    says = {"schema": schema, "version": __version__, "bytes": length, "sha256": digest}
    line = MAGIC + json.dumps(says).encode() + b"\n"
    with open(path, "r+b") as file:
        file.write(line.ljust(HEAD))
        file.flush()
        os.fsync(file.fileno())


def read_file(path: Path) -> tuple[dict[str, Any], list[Array]]:
    """Read manifest and arrays.

    Raises
    ------
    SpecError
        No such file, not a saved fit, written by a newer version, cut off or altered.
    """
    place = repr(str(path))
    if not path.is_file():
        raise SpecError(f"there is no file {place}.")
    _check_seal(path, place)
    import h5py

    try:
        with h5py.File(path, "r") as file:
            text, arrays = _read_arrays(file, path.stat().st_size)
        return json.loads(text.tobytes()), arrays
    except SpecError:
        raise
    except Exception as error:  # whatever the HDF5 library makes of a file that was not written by us
        raise SpecError(f"{place} is not laid out as a saved fit: {error}.") from None


def _check_seal(path: Path, place: str) -> None:
    with open(path, "rb") as file:
        line = file.read(HEAD)
    if not line.startswith(MAGIC):
        raise SpecError(f"{place} is not a saved fit: fit.save(path) writes one.")
    try:
        says = json.loads(line[len(MAGIC) :].decode("ascii"))
        schema, version, expected = int(says["schema"]), str(says["version"]), (int(says["bytes"]), str(says["sha256"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise SpecError(f"{place} was cut off or altered: its first line cannot be read. Save the fit again.") from None
    if schema > SCHEMA:
        raise SpecError(
            f"{place} was saved by bayesglmm {version} in format {schema}; this version reads formats up to {SCHEMA}. "
            "Install a newer bayesglmm."
        )
    found = _measure(path)
    if found[0] < expected[0]:
        raise SpecError(f"{place} was cut off: {found[0]} of {expected[0]} bytes are there. Save the fit again.")
    if found != expected:
        raise SpecError(f"{place} was altered after it was saved: its checksum does not agree. Save the fit again.")


def _measure(path: Path) -> tuple[int, str]:
    """Bytes of a file, and the SHA-256 of those after the head."""
    with open(path, "rb") as file:
        file.seek(HEAD)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return path.stat().st_size, digest


def _read_arrays(file: Any, size: int) -> tuple[Array, list[Array]]:
    """Every variable, after a check that each is stored in this very file and as large as it says."""
    import h5py

    count = sum(name.startswith("array_") and not name.endswith("_size") for name in file)
    found, declared = [], 0
    for name in ["manifest", *(f"array_{k}" for k in range(count))]:
        link = file.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink) or not isinstance(file[name], h5py.Dataset):
            raise SpecError(f"the file's {name!r} is not stored in the file itself.")
        dataset = file[name]
        plain = dataset.external is None and not dataset.is_virtual and dataset.compression is None
        declared += dataset.size * dataset.dtype.itemsize
        if not plain or dataset.ndim != 1 or dataset.dtype.kind not in "fiu" or declared > size:
            raise SpecError(f"the file's {name!r} is not a plain array of numbers.")
        found.append(dataset[()])
    return found[0], found[1:]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
