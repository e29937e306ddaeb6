"""Files that a reader never meets half-written, and the files of a folder that count."""

import contextlib
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from sar_keras.errors import OutputError
from sar_keras.io.zips import archive_of, is_zip, walk_zip


@contextlib.contextmanager
def atomic(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it into place when the block ends well, else delete it.

    Works for a file and for a directory. The suffix is kept, because writers choose the format by it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}-{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def walk(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Each folder at and below `root`, which may be a zip or lie in one, with the names of its files, in order.

    A folder comes once, however many links lead there. Hidden files and folders, and what macOS and Windows leave
    beside the files of people, are passed over.
    """
    if is_zip(root) or archive_of(root):
        for folder, names in walk_zip(root):
            if all(map(counts, folder.relative_to(root).parts)):
                yield folder, list(filter(counts, names))
        return
    pending, seen = [root], set()
    while pending:  # links come last, so that what they lead to has its own name if it lies below `root`
        for folder, subfolders, names in os.walk(pending.pop(0)):
            place = os.path.realpath(folder)
            subfolders[:] = [] if place in seen else sorted(filter(counts, subfolders))
            if place not in seen:
                seen.add(place)
                links = [Path(folder, name) for name in subfolders]
                pending += [path for path in links if path.is_symlink()]
                yield Path(folder), sorted(filter(counts, names))


def counts(name: str) -> bool:
    """Whether a file or a folder counts by its name: no hidden one, nor what macOS and Windows leave."""
    return not name.startswith(".") and name.lower() not in ("__macosx", "thumbs.db", "desktop.ini")


# How Python keeps the bytes of a file's name that are not UTF-8.
_ODD_BYTES = re.compile("[\udc80-\udcff]")


def is_utf8(name: str | os.PathLike) -> bool:
    return not _ODD_BYTES.search(os.fspath(name))


def readable(text: str) -> str:
    r"""Text that may hold names that are not UTF-8, with such as \xb2 in the place of their odd bytes."""
    return _ODD_BYTES.sub(lambda odd: f"\\x{ord(odd[0]) - 0xDC00:x}", text)


def path_or_name(text: str) -> Path | str:
    """A path; or a name that only GDAL knows, such as https://..., /vsizip/... and HDF5:file://layer, as it is.

    Path would make one slash of two.
    """
    is_name = re.match(r"/vsi|[A-Za-z][A-Za-z0-9_+.-]+:", text) and not os.path.exists(text)
    return text if is_name else Path(text)


# What Path makes of an address has one slash.
_ADDRESS = re.compile(r"/vsi|[A-Za-z][A-Za-z0-9+.-]*://|(gs|s3|https?|ftp|az|abfss?|wasbs?|adl|hdfs|oss|swift):/")


def local_path(path: str | os.PathLike) -> Path:
    """
    Raises:
        OutputError: it is an address such as gs://bucket/run, of which Path would make a folder here.
    """
    if _ADDRESS.match(os.fspath(path)):
        raise OutputError(
            f"{os.fspath(path)}: is an address, where only local files and folders can be: mount the bucket (gcsfuse, "
            "mount-s3, rclone mount) and give the path below the mount"
        )
    return Path(path)


def sha256(path: str | os.PathLike) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def sha256_of_arrays(arrays: Iterable[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left of `atomic` below a folder that no other process writes to."""
    for path in list(folder.rglob(".*")):
        if not re.fullmatch(r"\..+-[0-9a-f]{8}(\.[^.]*)?", path.name):
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
