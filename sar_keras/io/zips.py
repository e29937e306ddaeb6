"""Files inside a zip, which is read in place. Their paths lead through it: data.zip/s1/a.png."""

import functools
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from sar_keras.errors import DataError

# Bytes of the largest file that is unpacked into memory: a zip of some kilobytes may hold one that no memory does.
_LARGEST = 2**30


def is_zip(path: Path) -> bool:
    return path.suffix.lower() == ".zip" and path.is_file()


def file_size(path: Path) -> int | None:
    """Bytes of a file, in a folder or in a zip; None if there is no such file."""
    archive = archive_of(path)
    if archive:
        member = _member(archive, path)
        return member and member.file_size
    return path.stat().st_size if path.is_file() else None


def read_bytes(path: Path) -> bytes:
    """The whole of a file, in a folder or in a zip.

    Raises:
        DataError: it lies in a zip and is larger than 1 GB.
        FileNotFoundError: no such file.
    """
    archive = archive_of(path)
    if not archive:
        return path.read_bytes()
    member = _member(archive, path)
    if not member:
        raise FileNotFoundError(path)
    if member.file_size > _LARGEST:
        raise DataError(f"{path}: unpacks to {member.file_size / 1e9:.1f} GB; unpack the zip, and give the folder")
    return _opened(archive, archive.stat().st_mtime_ns)[0].read(member)


def gdal_name(path: Path) -> str:
    """What GDAL calls a file, in a folder or in a zip."""
    archive = archive_of(path)
    member = archive and _member(archive, path)
    return f"/vsizip/{{{archive}}}/{member.filename}" if member else str(path)


def walk_zip(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Each folder of a zip that holds files, as a path through it, with their names, in order.

    `folder` is the zip, or a folder in it.

    Raises:
        DataError: not a zip.
    """
    archive = folder if is_zip(folder) else archive_of(folder)
    assert archive is not None
    folders: dict[Path, list[str]] = {}
    for name in sorted(_opened(archive, archive.stat().st_mtime_ns)[1]):
        path = archive / name
        if folder in path.parents:
            folders.setdefault(path.parent, []).append(path.name)
    yield from folders.items()


def archive_of(path: Path) -> Path | None:
    """The zip that a path leads through."""
    return next(filter(is_zip, path.parents), None)


def _member(archive: Path, path: Path) -> zipfile.ZipInfo | None:
    return _opened(archive, archive.stat().st_mtime_ns)[1].get(path.relative_to(archive).as_posix())


@functools.lru_cache(maxsize=8)
def _opened(archive: Path, changed: int) -> tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]:
    """A zip, which several threads may read, and its files by name; opened once, because there may be many."""
    try:
        opened = zipfile.ZipFile(archive)
    except zipfile.BadZipFile as error:
        raise DataError(f"{archive}: not a zip, or a broken one; copy it again") from error
    files = {}
    for entry in opened.infolist():
        name = PurePosixPath(entry.filename.replace("\\", "/"))  # as some zips of Windows have it
        if not entry.is_dir() and not name.is_absolute() and ".." not in name.parts:
            files[str(name)] = entry
    return opened, files
