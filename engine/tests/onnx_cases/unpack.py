"""Takes the backend cases out of wheels of the package onnx: unpack.py WHEEL... FOLDER.

The cases of onnx-1.12.0-....whl come to lie in FOLDER/1.12.0/{node,simple}.
"""

import pathlib
import sys
import zipfile

DATA = "onnx/backend/test/data/"


def unpack(wheel: pathlib.Path, folder: pathlib.Path) -> None:
    version = wheel.name.split("-")[1]
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            place = entry.filename.removeprefix(DATA)
            if place.startswith(("node/", "simple/")) and not entry.is_dir():
                target = folder / version / place
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(entry))


if __name__ == "__main__":
    *wheels, folder = map(pathlib.Path, sys.argv[1:])
    for wheel in wheels:
        unpack(wheel, folder)
