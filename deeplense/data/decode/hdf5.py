"""HDF5: one image a file, or a whole set (`images` and `labels`, Galaxy10's form)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from deeplense.data.decode.pixels import BadImage, Planes, Reading, check_shape, choose

MISSING = "needs h5py: pip install 'deeplense[hdf5]'"


def read(path: Path, reading: Reading) -> list[Planes]:
    """The one image of an HDF5 file."""
    with opened(path) as file:
        found = {name: data for name, data in arrays(file).items() if data.ndim >= 2}
        if not found:
            raise BadImage("holds no image")
        names = list(found)
        data = found[names[choose(names, "arrays", "keep one image a file")]] if len(names) > 1 else found[names[0]]
        check_shape(data.shape, data.dtype.itemsize)
        return [Planes(np.asarray(data[()]))]


def opened(path: Path) -> Any:
    """The file, for reading."""
    try:
        import h5py
    except ImportError:
        raise BadImage(MISSING) from None
    return h5py.File(path, "r")


def arrays(file: Any) -> dict[str, Any]:
    """The arrays of numbers of an open file, by name, without links into other files."""
    import h5py

    found: dict[str, Any] = {}

    def visit(group: Any, where: str, depth: int) -> None:
        for name in list(group)[:1000]:
            if depth > 4 or not isinstance(group.get(name, getlink=True), h5py.HardLink):
                continue
            item = group[name]
            if isinstance(item, h5py.Group):
                visit(item, f"{where}{name}/", depth + 1)
            elif (
                isinstance(item, h5py.Dataset) and not item.external and not item.is_virtual and item.shape is not None
            ):
                found[where + name] = item

    visit(file, "", 0)
    return found
