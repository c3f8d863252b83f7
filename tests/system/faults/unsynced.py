"""
A disk that keeps in memory what was not synced, and loses it when the power is cut.

It is a file system for SQLite, made with apsw. The real file holds what a sync has
made safe; what was written is seen by whoever reads. At the cut none, all, or any of
the sectors that were written and not synced come through, so that pages are torn. A
deletion is safe at once.
"""

import os
import threading
from collections.abc import Callable, Iterable
from random import Random

import apsw

NAME = "unsynced"
_SECTOR = 512
#: Of what was not synced, this much may come through.
_SHARES = (0.0, 0.0, 0.1, 0.5, 0.9, 1.0)
_KEPT = apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_WAL


class PowerCut(BaseException):
    """The machine is off: nothing that is done from now on reaches the disk."""


class Disk(apsw.VFS):
    """
    All files of one machine, up to its next power cut.

    At the cut `at_cut` is called, and whatever is done later fails.
    """

    def __init__(
        self, chance: Random, *, fuse: int, at_cut: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__(NAME, "")
        self.lock = threading.RLock()
        self.is_off = False
        self._chance = chance
        #: Writes, syncs and the like that are left.
        self._fuse = fuse
        self._at_cut = at_cut
        self._contents: dict[str, _Content] = {}
        self._deleted: list[_Content] = []

    def xOpen(  # noqa: N802 - these names are SQLite's
        self, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> apsw.VFSFile:
        if name is None or not flags[0] & _KEPT:
            return apsw.VFSFile("", name, flags)
        return _File(self, name, flags)

    def xAccess(self, pathname: str, flags: int) -> bool:  # noqa: N802 - see above
        content = self._contents.get(pathname)
        return bool(content and content.seen) or super().xAccess(pathname, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802 - see above
        with self.lock:
            self.burn()
            super().xDelete(filename, syncdir)
            if filename in self._contents:
                self._deleted.append(self._contents.pop(filename))

    def content(self, path: str) -> "_Content":
        """The file's content, one for all who have it open."""
        with self.lock:
            if path not in self._contents:
                self._contents[path] = _Content(path)
            return self._contents[path]

    def burn(self) -> None:
        """Here the power may go."""
        self._fuse -= 1
        if self._fuse == 0:
            self.cut()
        if self.is_off:
            raise PowerCut

    def cut(self) -> None:
        """Turn the machine off."""
        with self.lock:
            self.is_off = True
            share = self._chance.choice(_SHARES)
            for content in self._contents.values():
                content.lose(self._chance, share)
            self._at_cut()

    def close(self) -> None:
        """Let go of all files. No connection may be open."""
        for content in (*self._contents.values(), *self._deleted):
            content.close()
        self.unregister()


class _Content:
    """What is in a file: to whoever reads it, and after a power cut."""

    def __init__(self, path: str) -> None:
        # Kept open: closing any descriptor of a file drops its locks.
        self._file = os.open(path, os.O_RDWR)
        self.seen = bytearray(os.pread(self._file, os.fstat(self._file).st_size, 0))
        self._unsynced: set[int] = set()
        #: To how many bytes it was cut since the last sync, at the least.
        self._cut_to: int | None = None

    def write(self, data: bytes, offset: int) -> None:
        """Let everybody see it."""
        end = offset + len(data)
        self.seen.extend(bytes(max(0, end - len(self.seen))))
        self.seen[offset:end] = data
        self._unsynced.update(range(offset // _SECTOR, -(-end // _SECTOR)))

    def truncate(self, size: int) -> None:
        """Let everybody see that it is shorter."""
        del self.seen[size:]
        self._unsynced = {n for n in self._unsynced if n * _SECTOR < size}
        self._cut_to = size if self._cut_to is None else min(size, self._cut_to)

    def sync(self) -> None:
        """Make all of it safe."""
        self._put(self._unsynced, is_cut=True)
        self._unsynced.clear()
        self._cut_to = None

    def lose(self, chance: Random, share: float) -> None:
        """Of what was not synced each sector comes through with this chance."""
        kept = [n for n in sorted(self._unsynced) if chance.random() < share]
        self._put(kept, is_cut=chance.random() < share)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)

    def _put(self, sectors: Iterable[int], *, is_cut: bool) -> None:
        if is_cut and self._cut_to is not None:
            os.ftruncate(self._file, self._cut_to)
        for n in sorted(sectors):
            at = n * _SECTOR
            os.pwrite(self._file, self.seen[at : at + _SECTOR], at)


class _File(apsw.VFSFile):
    """A file that one connection has opened."""

    def __init__(self, disk: Disk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._disk = disk
        self._content = disk.content(_path(name))

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802 - see above
        with self._disk.lock:
            return bytes(self._content.seen[offset : offset + amount])

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - see above
        with self._disk.lock:
            self._disk.burn()
            self._content.write(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - see above
        with self._disk.lock:
            self._disk.burn()
            self._content.truncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802 - see above
        del flags
        with self._disk.lock:
            self._disk.burn()
            self._content.sync()

    def xFileSize(self) -> int:  # noqa: N802 - see above
        with self._disk.lock:
            return len(self._content.seen)


def _path(name: str | apsw.URIFilename | None) -> str:
    return name.filename() if isinstance(name, apsw.URIFilename) else name or ""
