"""The record of a study on disk: every finished replicate, at once, with a checksum; SQLite underneath.

A record is committed when its replicate is done, so that whatever ends the process loses nothing finished. On opening,
every record is checked; what is damaged is left out, said, and done again. Only the process that conducts the study
writes, under a lock.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from bayesglmm.errors import BayesGLMMError
from bayesglmm.study.replicate import Replicate

SCHEMA = "1"
#: Bytes that a damaged file is filled up to at most.
LARGEST = 2**30


class Journal:
    """An open record.

    Parameters
    ----------
    path : Path
        The file; made when it is not there, its folder too.
    identity : str
        Of the study. A file of another study is refused.

    Attributes
    ----------
    finished : dict
        (arm, number) → :class:`Replicate`, as found on opening.
    said : str
        What was found on opening; empty for a new file.

    Raises
    ------
    BayesGLMMError
        A file of another study, in use by another process, or that cannot be opened.
    """

    def __init__(self, path: Path, identity: str) -> None:
        self.path = path
        self.finished: dict[tuple[int, int], Replicate] = {}
        self.said = ""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BayesGLMMError(f"the folder of {str(path)!r} cannot be made: {error.strerror}.") from None
        if path.exists() and path.stat().st_size:
            self._check_all(identity)
        self._connection = self._open(identity)

    def _check_all(self, identity: str) -> None:
        """Read every record; when one is damaged, carry the others over to a new file."""
        found, damaged, mine = _salvage(self.path)
        if mine is not None and mine != identity:
            raise BayesGLMMError(
                f"{str(self.path)!r} holds another study (other model, truth, methods, options, seed or version): give "
                "another path, or delete it."
            )
        self.finished = {(r.arm, r.number): r for r in found}
        self.said = f"{len(found)} finished replicates found"
        if damaged is None and mine is not None:
            return
        aside = self.path.with_name(self.path.name + ".damaged")
        os.replace(self.path, aside)
        self.path.with_name(self.path.name + "-journal").unlink(missing_ok=True)
        with self._open(identity) as connection:
            connection.executemany("INSERT INTO replicate VALUES (?, ?, ?, ?)", map(_record, found))
        connection.close()
        self.said += f"; damaged records were left out and are done again ({damaged}); the file is kept as {aside.name}"

    def _open(self, identity: str) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(self.path, timeout=0.5)
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("PRAGMA synchronous = FULL")
            with connection:
                connection.execute("CREATE TABLE IF NOT EXISTS study (name TEXT PRIMARY KEY, value TEXT)")
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS replicate "
                    "(arm INTEGER, number INTEGER, content TEXT, sha256 TEXT, PRIMARY KEY (arm, number))"
                )
                about = [("identity", identity), ("schema", SCHEMA)]
                connection.executemany("INSERT OR REPLACE INTO study VALUES (?, ?)", about)
        except sqlite3.Error as error:
            locked = "locked" in str(error)
            why = "another process is running this study" if locked else str(error)
            raise BayesGLMMError(f"the record {str(self.path)!r} cannot be opened: {why}.") from None
        return connection

    def add(self, replicate: Replicate) -> None:
        """Keep a finished replicate; it is on disk when this returns.

        Raises
        ------
        BayesGLMMError
            When it cannot be written (the disk is full, say).
        """
        try:
            with self._connection as connection:
                connection.execute("INSERT INTO replicate VALUES (?, ?, ?, ?)", _record(replicate))
        except sqlite3.Error as error:
            raise BayesGLMMError(
                f"a replicate could not be written to {str(self.path)!r}: {error}. {len(self.finished)} replicates are "
                "kept there; make room and run the same study again to go on."
            ) from None
        self.finished[replicate.arm, replicate.number] = replicate

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._connection.close()


def _record(replicate: Replicate) -> tuple[int, int, str, str]:
    text = replicate.text()
    return replicate.arm, replicate.number, text, _checksum(replicate.arm, replicate.number, text)


def _checksum(arm: int, number: int, text: str) -> str:
    return hashlib.sha256(f"{arm} {number} {text}".encode()).hexdigest()


def _salvage(path: Path) -> tuple[list[Replicate], str | None, str | None]:
    """Every record that can be read and agrees with its checksum, what was damaged, and whose study it is."""
    missing = _cut_off(path)
    if missing:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.") as whole:
            whole.write(path.read_bytes() + bytes(missing))
            whole.flush()
            found, damage, mine = _read_all(Path(whole.name), [f"{missing} bytes at its end are missing"])
    else:
        found, damage, mine = _read_all(path, [])
    return list(found.values()), "; ".join(damage[:3]) or None, mine


def _cut_off(path: Path) -> int:
    """How many bytes a file lacks of what its own header says; SQLite reads nothing at all of such a file."""
    with open(path, "rb") as file:
        head = file.read(100)
    if len(head) < 100 or not head.startswith(b"SQLite format 3\0"):
        return 0
    page = int.from_bytes(head[16:18]) % 65536 or 65536
    expected = (65536 if page == 1 else page) * int.from_bytes(head[28:32])
    return max(0, min(expected, LARGEST) - path.stat().st_size)


def _read_all(path: Path, damage: list[str]) -> tuple[dict[tuple[int, int], Replicate], list[str], str | None]:
    """Every record of a file that opens, beside what is damaged."""
    found: dict[tuple[int, int], Replicate] = {}
    mine: str | None = None
    connection = sqlite3.connect(path, timeout=0.5)
    try:
        rows = connection.execute("SELECT value FROM study WHERE name = 'identity'").fetchall()
        mine = rows[0][0] if rows else None
        try:
            count = connection.execute("SELECT max(rowid) FROM replicate").fetchone()[0] or 0
        except sqlite3.DatabaseError:  # the end of the tree is lost, not its beginning: a record has 100 bytes or more
            count = path.stat().st_size // 100
        for rowid in range(1, count + 1):
            try:
                row = connection.execute("SELECT * FROM replicate WHERE rowid = ?", (rowid,)).fetchone()
                if row is None:
                    continue
                arm, number, text, checksum = row
                if checksum != _checksum(arm, number, text):
                    raise ValueError("a checksum does not agree")
                found[arm, number] = Replicate.read(text)
            except (sqlite3.DatabaseError, ValueError, TypeError, KeyError) as error:
                damage.append(f"record {rowid}: {error}")
        if not damage and connection.execute("PRAGMA quick_check").fetchone()[0] != "ok":
            damage.append("the file's own structure")
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise BayesGLMMError(
                f"the record {str(path)!r} is in use: another process is running this study."
            ) from None
        damage.append(str(error))
    except sqlite3.DatabaseError as error:
        damage.append(str(error))
    finally:
        connection.close()
    return found, damage, mine
