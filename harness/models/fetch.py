"""Fetch: download released weights, whole or not at all, and compare them with the SHA-256 of the first download."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import BinaryIO
from urllib.error import HTTPError, URLError
from urllib.request import Request, build_opener

from tqdm import tqdm

from harness.artifacts.errors import BadEnvironment, InvalidInput
from harness.data.archive import unpack
from harness.models import lock
from harness.params.images import Download, ReaderData
from harness.params.models import Released
from harness.params.params import Params

CHUNK = 1 << 20
# Seconds without a byte after which a connection counts as broken.
PATIENCE = 60


def fetch_all(params: Params, profile: str, models: Iterable[str], *, say: Callable[[str], None] = print) -> None:
    """Get what is published of the models' weights and of the profile's images; see `fetch`."""
    data = params.of(profile).data
    if isinstance(data, ReaderData) and data.url:
        if Path(data.root).is_dir():
            say(f"{data.root}: there")
        else:
            fetch([data], say=say)
            unpack(data.path, Path(data.root))
            say(f"{data.root}: unpacked")
    weights = (params.weights(model, profile) for model in models)
    fetch((one for one in weights if isinstance(one, Released) and one.url), say=say)


def fetch(wanted: Iterable[Download], *, say: Callable[[str], None] = print) -> None:
    """Get the files that are not there, each told with its size and licence before the first byte of it.

    A transfer that broke goes on where it stopped, if the server still has the same file. The SHA-256 of an address is kept in
    weights.lock on first sight; a file that is there already is held against it too. Nothing is read from a file but its bytes.
    Raises InvalidInput (exit 12) for another SHA-256 and a web page, BadEnvironment (exit 14) where the transfer broke, the
    network, the proxy or the disk refuses or another process is fetching the file.
    """
    for one in {one.url: one for one in wanted}.values():
        path = one.path
        if path.is_file():
            with path.open("rb") as file:
                _accept(one, path, hashlib.file_digest(file, "sha256").hexdigest())
            say(f"{path}: there, as {lock.expected(one)[1]} says")
            continue
        part = path.with_name(f"{path.name}.part")
        with _machine(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("ab") as file, _alone(path, file):
                sha = _transfer(one, path, file, say)
                file.flush()
                os.fsync(file.fileno())
                # What is refused is not gone on with either.
                try:
                    _accept(one, path, sha)
                except InvalidInput:
                    _forget(part)
                    raise
                os.replace(part, path)
                _validator(part).unlink(missing_ok=True)
        say(f"{path}: fetched, sha256 {sha}")


def _accept(one: Download, path: Path, sha: str) -> None:
    expected, held = lock.expected(one)
    if not expected:
        lock.add(one.url, sha)
    elif sha != expected:
        step = f"if its authors replaced {one.url}, change the SHA-256 in {held}; else remove the file and fetch again"
        raise InvalidInput(path, field="sha256", seen=sha, expected=f"{expected}, as {held} has", next_step=step)


def _transfer(one: Download, path: Path, file: BinaryIO, say: Callable[[str], None]) -> str:
    """Append what is missing and return the SHA-256 of the whole."""
    part = Path(file.name)
    done, validator = file.tell(), _read_validator(_validator(part))
    if not validator:
        done = 0
    headers = {"Range": f"bytes={done}-", "If-Range": validator} if done else {}
    # Sizes and hashes are those of the file, not of a compressed transfer.
    with _answer(one.url, headers | {"Accept-Encoding": "identity"}) as response:
        if response.status != 206:
            done = 0
        elif not (response.headers.get("Content-Range") or "").startswith(f"bytes {done}-"):
            _forget(part)
            seen = f"{response.headers.get('Content-Range')} where {done} bytes are there"
            raise BadEnvironment(one.url, seen=seen, expected=f"bytes {done}-", next_step="fetch again, from the start")
        file.truncate(done)
        file.seek(0, os.SEEK_END)
        kind, length = response.headers.get_content_type(), response.headers.get("Content-Length")
        if kind in ("text/html", "application/xhtml+xml"):
            _forget(part)
            step = "open the address in a browser: it may ask for a login or have moved"
            raise InvalidInput(one.url, field="content", seen=f"a web page ({kind})", expected="weights", next_step=step)
        total = None if length is None else done + int(length)
        size = "unknown size" if total is None else f"{total / 1e6:.1f} MB"
        resumed = f", {done / 1e6:.1f} MB of it there" if done else ""
        elsewhere = f" (at {response.url})" if response.url != one.url else ""
        say(f"{one.url}{elsewhere}: {size}{resumed}, licence: {one.licence or 'not stated'}")
        _validator(part).write_text(response.headers.get("ETag") or response.headers.get("Last-Modified") or "")
        with part.open("rb") as written:
            sha = hashlib.file_digest(written, "sha256")
        bar = tqdm(total=total, initial=done, unit="B", unit_scale=True, desc=path.name, disable=not sys.stderr.isatty())
        with bar:
            while chunk := response.read(CHUNK):
                file.write(chunk)
                sha.update(chunk)
                done += len(chunk)
                bar.update(len(chunk))
    if total is not None and done != total:
        step = "fetch again: it goes on where it stopped"
        raise BadEnvironment(one.url, seen=f"the transfer broke after {done} bytes", expected=total, next_step=step)
    return sha.hexdigest()


def _answer(url: str, headers: dict[str, str]) -> HTTPResponse:
    try:
        # A new opener, since urlopen keeps the proxies of its first call.
        response: HTTPResponse = build_opener().open(Request(url, headers=headers), timeout=PATIENCE)
    except HTTPError as error:
        error.close()
        if error.code == 416:
            # The file is shorter than what is there of it: another one.
            return _answer(url, {name: value for name, value in headers.items() if name not in ("Range", "If-Range")})
        raise BadEnvironment(url, seen=f"{error.code} {error.reason}", expected="the file", next_step=BY_HAND) from error
    if url.startswith("https:") and not response.url.startswith("https:"):
        response.close()
        raise InvalidInput(url, field="redirection", seen=response.url, expected="an address that nobody can change on the way")
    return response


@contextlib.contextmanager
def _machine(path: Path) -> Iterator[None]:
    """Tell what the network and the disk refuse; what was got until then stays for the next time."""
    try:
        yield
    except (URLError, HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise BadEnvironment(path, seen=f"no connection: {reason}", expected="a network", next_step=BY_HAND) from error
    except OSError as error:
        raise BadEnvironment(path, seen=error, expected="room and permission to write", next_step="free some") from error


@contextlib.contextmanager
def _alone(path: Path, file: BinaryIO) -> Iterator[None]:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BadEnvironment(path, seen="another process is fetching it", expected="one", next_step="wait for it") from error
    yield


def _validator(part: Path) -> Path:
    return part.with_name(f"{part.name}.version")


def _read_validator(path: Path) -> str:
    return path.read_text().strip() if path.is_file() else ""


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _validator(part).unlink(missing_ok=True)


BY_HAND = "put the file there by hand, or set https_proxy"
