"""JSON and arrays in one netCDF file, written at once or not at all, and read with suspicion.

The file is netCDF 4 (so HDF5): any tool for it shows the arrays, and ``manifest``, the JSON as bytes. Root attributes:
``format``, ``schema`` (an integer that grows when older versions could misread the file), ``version`` of the package,
and ``sha256`` of manifest and arrays. Nothing is compressed, so that no small file can ask for much memory.
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

FORMAT = "bayesglmm fit"
#: Grows when an older version of the package could misread the file.
SCHEMA = 1


def write_file(path: Path, manifest: dict[str, Any], arrays: list[Array]) -> None:
    """Write a file beside its place and move it there when it is whole.

    Raises
    ------
    SpecError
        When it cannot be written: no such folder, no right to write, no space left.
    """
    import h5netcdf

    from bayesglmm import __version__

    text = np.frombuffer(json.dumps(manifest, allow_nan=False).encode(), dtype=np.uint8)
    scratch = None
    try:
        handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        os.close(handle)
        with h5netcdf.File(scratch, "w") as file:
            file.attrs.update(
                {"format": FORMAT, "schema": SCHEMA, "version": __version__, "sha256": digest(text, arrays)}
            )
            for name, array in [("manifest", text), *((f"array_{k}", a) for k, a in enumerate(arrays))]:
                file.dimensions[f"{name}_size"] = array.size
                file.create_variable(name, (f"{name}_size",), data=array.ravel())
        os.chmod(scratch, 0o666 & ~_umask())
        os.replace(scratch, path)
    except OSError as error:
        raise SpecError(f"the fit could not be written to {str(path)!r}: {error.strerror or error}.") from None
    finally:
        if scratch is not None and os.path.exists(scratch):
            os.unlink(scratch)


def read_file(path: Path) -> tuple[dict[str, Any], list[Array]]:
    """Read manifest and arrays.

    Raises
    ------
    SpecError
        No such file, not a saved fit, written by a newer version, cut off or altered.
    """
    import h5py

    place = repr(str(path))
    if not path.is_file():
        raise SpecError(f"there is no file {place}.")
    try:
        with h5py.File(path, "r") as file:
            _check_head(file, place)
            text, arrays = _read_arrays(file, path.stat().st_size)
            expected = file.attrs["sha256"]
    except SpecError:
        raise
    except Exception as error:  # whatever the HDF5 library makes of a damaged file
        raise SpecError(f"{place} is no saved fit, or it was cut off or damaged: {error}.") from None
    if digest(text, arrays) != expected:
        raise SpecError(f"{place} was altered after it was saved: its checksum does not agree. Save the fit again.")
    try:
        manifest = json.loads(text.tobytes())
    except (ValueError, RecursionError):
        raise SpecError(f"{place} has a manifest that cannot be read.") from None
    return manifest, arrays


def _check_head(file: Any, place: str) -> None:
    if file.attrs.get("format") != FORMAT:
        raise SpecError(f"{place} is not a saved fit: fit.save(path) writes one.")
    schema = int(np.ravel(file.attrs["schema"])[0])
    if schema > SCHEMA:
        raise SpecError(
            f"{place} was saved by bayesglmm {file.attrs.get('version')} in format {schema}; this version reads "
            f"formats up to {SCHEMA}. Install a newer bayesglmm."
        )


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


def digest(text: Array, arrays: list[Array]) -> str:
    """SHA-256 of the manifest and, one after the other, type and bytes of the arrays."""
    total = hashlib.sha256(text.tobytes())
    for array in arrays:
        total.update(array.dtype.name.encode())
        total.update(np.ascontiguousarray(array).view(np.uint8).data)
    return total.hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
