"""Fetching from a server that answers, breaks off, changes its file or sends something else: whole files or none."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
import yaml

from harness.__main__ import main
from harness.artifacts.errors import BadEnvironment, InvalidInput, MissingArtifact
from harness.models import lock, released
from harness.models.build import build
from harness.models.fetch import fetch, fetch_all
from harness.params.load import check_params
from harness.params.models import Released
from harness.params.params import Params
from tests.stages.conftest import TINY

CONTENT = bytes(range(256)) * 40_000
SHA = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Server:
    """What the server does, and what it was asked: the Range of each request."""

    url: str = ""
    content: bytes = CONTENT
    etag: str = '"1"'
    status: int = 200
    kind: str = "application/octet-stream"
    breaks_after: int | None = None
    ranges: bool = True
    shift: int = 0
    redirect: str = ""
    length: bool = True
    asked: list[str | None] = field(default_factory=list)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.chdir(tmp_path)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    told = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            told.asked.append(asked)
            if told.redirect and self.path != told.redirect:
                self.send_response(302)
                self.send_header("Location", told.redirect)
                self.end_headers()
                return
            start = 0
            if asked and told.ranges and self.headers.get("If-Range") == told.etag and told.status == 200:
                start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start > len(told.content):
                self.send_error(416)
                return
            body = told.content[start:]
            self.send_response(206 if start else told.status)
            if start:
                self.send_header("Content-Range", f"bytes {start + told.shift}-{len(told.content) - 1}/{len(told.content)}")
            if told.etag:
                self.send_header("ETag", told.etag)
            self.send_header("Content-Type", told.kind)
            if told.length:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            # Whoever refuses what comes does not read it to its end.
            with contextlib.suppress(ConnectionError):
                self.wfile.write(body if told.breaks_after is None else body[: told.breaks_after])

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        told.url = f"http://127.0.0.1:{http.server_port}/vit.pth"
        yield told
        http.shutdown()


FILE = Path("weights/vit.pth")


def wanted(server: Server, **more: str) -> Released:
    return Released(url=server.url, layout="dino", **more)


def left() -> set[str]:
    return {path.name for path in Path("weights").iterdir()} if Path("weights").exists() else set()


def test_a_file_is_fetched_whole_and_its_hash_kept(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    fetch([wanted(server, licence="CC BY-NC 4.0")])
    assert FILE.read_bytes() == CONTENT
    assert left() == {"vit.pth"}
    assert json.loads(Path("weights.lock").read_text()) == {server.url: SHA}
    told, got = capsys.readouterr().out.splitlines()
    assert told == f"{server.url}: 10.2 MB, licence: CC BY-NC 4.0"
    assert got == f"weights/vit.pth: fetched, sha256 {SHA}"


def test_a_model_of_the_hub_is_fetched_from_where_it_lies(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", server.url.rpartition("/")[0])
    fetch([Released.model_validate({"timm": "vit_tiny.mine"})])
    assert Path("weights/timm--vit_tiny.mine.safetensors").read_bytes() == CONTENT
    [address] = json.loads(Path("weights.lock").read_text())
    assert address.endswith("/timm/vit_tiny.mine/resolve/main/model.safetensors")
    server.status = 401
    with pytest.raises(BadEnvironment, match="401"):
        fetch([Released.model_validate({"hub": "somebody/gated"})])


def test_what_is_there_is_not_fetched_again_but_held_against_the_lock(server: Server) -> None:
    fetch([wanted(server), wanted(server)])
    assert len(server.asked) == 1
    fetch([wanted(server)])
    assert len(server.asked) == 1
    FILE.write_bytes(b"something else")
    with pytest.raises(InvalidInput, match=SHA):
        fetch([wanted(server)])


@pytest.mark.parametrize("length", [True, False])
def test_a_transfer_that_broke_goes_on_where_it_stopped(server: Server, length: bool) -> None:
    server.breaks_after = 3_000_000
    with pytest.raises(BadEnvironment, match="broke after 3000000 bytes"):
        fetch([wanted(server)])
    assert not FILE.exists()
    assert not Path("weights.lock").exists()
    server.breaks_after, server.length = None, length
    fetch([wanted(server)])
    assert server.asked == [None, "bytes=3000000-"]
    assert FILE.read_bytes() == CONTENT
    assert left() == {"vit.pth"}


@pytest.mark.parametrize(
    "change", [{"etag": '"2"'}, {"ranges": False}, {"content": CONTENT[:100]}, {"content": CONTENT[::-1], "etag": ""}]
)
def test_a_file_that_changed_meanwhile_is_fetched_from_the_start(server: Server, change: dict[str, object]) -> None:
    server.breaks_after = 3_000_000
    with pytest.raises(BadEnvironment):
        fetch([wanted(server)])
    server.breaks_after = None
    for name, value in change.items():
        setattr(server, name, value)
    fetch([wanted(server)])
    assert FILE.read_bytes() == server.content


def test_without_a_version_nothing_is_gone_on_with(server: Server) -> None:
    server.etag, server.breaks_after = "", 3_000_000
    with pytest.raises(BadEnvironment):
        fetch([wanted(server)])
    server.breaks_after = None
    fetch([wanted(server)])
    assert server.asked == [None, None]
    assert FILE.read_bytes() == CONTENT


def test_a_server_that_goes_on_elsewhere_is_refused(server: Server) -> None:
    server.breaks_after = 3_000_000
    with pytest.raises(BadEnvironment):
        fetch([wanted(server)])
    server.breaks_after, server.shift = None, 7
    with pytest.raises(BadEnvironment, match="bytes 3000007-"):
        fetch([wanted(server)])
    assert left() == set()


def test_another_file_at_a_known_address_is_refused_and_both_are_named(server: Server) -> None:
    fetch([wanted(server)])
    FILE.unlink()
    server.content, server.etag = b"changed", '"2"'
    other = hashlib.sha256(b"changed").hexdigest()
    with pytest.raises(InvalidInput, match=rf"(?s){other}.*{SHA}, as weights\.lock has"):
        fetch([wanted(server)])
    assert left() == set()
    with pytest.raises(InvalidInput, match=r"as params\.yaml has"):
        fetch([wanted(server, sha256=SHA)])


def test_a_hash_in_the_parameters_needs_no_lock(server: Server) -> None:
    fetch([wanted(server, sha256=SHA)])
    assert FILE.read_bytes() == CONTENT
    assert not Path("weights.lock").exists()


def test_a_web_page_is_refused(server: Server) -> None:
    server.kind = "text/html; charset=utf-8"
    with pytest.raises(InvalidInput, match=r"a web page \(text/html\)"):
        fetch([wanted(server)])
    assert left() == set()


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_server_that_refuses_exits_14(server: Server, status: int) -> None:
    server.status = status
    with pytest.raises(BadEnvironment, match=str(status)) as caught:
        fetch([wanted(server)])
    assert caught.value.exit_code == 14
    assert not FILE.exists()


def test_a_redirection_is_followed_and_told(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.redirect = "/elsewhere"
    fetch([wanted(server)])
    assert FILE.read_bytes() == CONTENT
    assert "/elsewhere)" in capsys.readouterr().out


def test_no_server_and_no_proxy_exit_14(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadEnvironment, match="no connection"):
        fetch([Released(url="http://127.0.0.1:9/vit.pth")])
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(BadEnvironment, match="no connection"):
        fetch([wanted(server)])


def test_two_fetches_of_one_file_are_one(server: Server) -> None:
    Path("weights").mkdir()
    with Path("weights/vit.pth.part").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(BadEnvironment, match="another process is fetching it"):
            fetch([wanted(server)])
    fetch([wanted(server)])
    assert FILE.read_bytes() == CONTENT


def test_a_folder_that_cannot_be_written_exits_14(server: Server) -> None:
    Path("weights").write_text("a file in its place")
    with pytest.raises(BadEnvironment, match="weights"):
        fetch([wanted(server)])


@pytest.mark.parametrize("text", ["{", "[]", '{"a": "b"}', '{"a": 3}', "\xff"])
def test_a_lock_that_is_none_is_refused(server: Server, text: str) -> None:
    Path("weights.lock").write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidInput, match=r"weights\.lock"):
        fetch([wanted(server)])


def test_a_lock_keeps_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lock.add("http://a/b", "0" * 64)
    lock.add("http://a/c", "1" * 64)
    lock.add("http://a/b", "0" * 64)
    with pytest.raises(InvalidInput, match="http://a/b"):
        lock.add("http://a/b", "2" * 64)
    assert lock.known() == {"http://a/b": "0" * 64, "http://a/c": "1" * 64}


def test_a_model_is_loaded_from_what_was_fetched_and_from_nothing_else(server: Server) -> None:
    source = build("vit_tiny_patch16_224", seed=1, img_size=16, patch_size=4, embed_dim=16, depth=2, num_heads=2)
    out = io.BytesIO()
    torch.save(source.state_dict(), out)
    server.content = out.getvalue()
    target = build("vit_tiny_patch16_224", seed=2, img_size=16, patch_size=4, embed_dim=16, depth=2, num_heads=2)
    with pytest.raises(MissingArtifact, match="python -m harness fetch"):
        released.load(wanted(server), target)
    fetch([wanted(server)])
    released.load(wanted(server), target)
    assert all(torch.equal(a, b) for a, b in zip(source.state_dict().values(), target.state_dict().values(), strict=True))
    Path("weights.lock").unlink()
    with pytest.raises(InvalidInput, match=r"but weights\.lock names none"):
        released.load(wanted(server), target)


def test_the_command_line_fetches_a_profiles_models(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    weights = {"tiny": {"url": server.url, "layout": "dino"}}
    one = {"family": "je", "architecture": "vit", "weights": weights}
    Path("params.yaml").write_text(yaml.safe_dump(TINY | {"models": TINY["models"] | {"one": one}}))
    assert main(["fetch", "--model", "two"]) == 0
    assert server.asked == []
    assert main(["fetch"]) == 0
    assert FILE.read_bytes() == CONTENT
    server.content = b""
    FILE.unlink()
    assert main(["fetch", "--profile", "tiny", "--model", "one"]) == 12
    assert "weights.lock" in capsys.readouterr().err


def packed(folder: str, link: str = "") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as file:
        for name in ("train/a/1.jpeg", "val/a/2.jpeg"):
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = 3
            file.addfile(member, io.BytesIO(b"jpg"))
        if link:
            member = tarfile.TarInfo(f"{folder}/link")
            member.type, member.linkname = tarfile.SYMTYPE, link
            file.addfile(member)
    return out.getvalue()


def with_images(server: Server) -> Params:
    data = {"kind": "reader", "reader": "", "root": "data/photos", "url": server.url, "size": 16, "resize": 16}
    profile = TINY["profiles"]["tiny"] | {"data": data}
    return check_params(TINY | {"profiles": {"tiny": profile}, "profile": profile}, "params.yaml")


def test_images_are_fetched_and_unpacked_once(server: Server) -> None:
    server.content = packed("photos")
    known = with_images(server)
    fetch_all(known, "tiny", known.models)
    assert sorted(str(path) for path in Path("data").rglob("*.jpeg")) == [
        "data/photos/train/a/1.jpeg",
        "data/photos/val/a/2.jpeg",
    ]
    assert [path.name for path in Path("data").iterdir()] == ["photos"]
    fetch_all(known, "tiny", known.models)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (packed("others"), "a folder photos"),
        (packed("../photos"), "outside"),
        (packed("photos", link="/etc"), "absolute path|outside"),
        (packed("photos")[:-30], "a whole tar archive"),
        (b"no archive", "a whole tar archive"),
    ],
)
def test_an_archive_that_is_broken_unsafe_or_another_leaves_nothing(server: Server, content: bytes, said: str) -> None:
    server.content = content
    known = with_images(server)
    with pytest.raises(InvalidInput, match=said):
        fetch_all(known, "tiny", known.models)
    assert [path.name for path in Path("data").iterdir()] == ["vit.pth"]
    assert not Path("photos").exists()


def raw(**weights: dict[str, str]) -> dict[str, object]:
    models = {name: {"family": "je", "architecture": "vit", "weights": {"tiny": value}} for name, value in weights.items()}
    return TINY | {"models": TINY["models"] | models}


@pytest.mark.parametrize(
    ("one", "two", "seen"),
    [
        ({"layout": "dino"}, {"url": "http://a/b"}, "nothing"),
        ({"file": "", "sha256": ""}, {"url": "http://a/b"}, "nothing"),
        ({"url": "http://a/x/b"}, {"url": "http://a/y/b"}, "http://a/y/b"),
        ({"url": "ftp://a/b"}, {"url": "http://a/b"}, "'ftp://a/b'"),
        ({"url": "http://a/"}, {"url": "http://a/b"}, "'http://a/'"),
    ],
)
def test_addresses_that_cannot_be_right_are_refused(one: dict[str, str], two: dict[str, str], seen: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_params(raw(one=one, two=two), "params.yaml")
    assert caught.value.seen == seen


def test_two_models_may_share_an_address() -> None:
    known = check_params(raw(one={"url": "http://a/b"}, two={"url": "http://a/b"}), "params.yaml")
    assert {known.weights(name, "tiny").path for name in ("one", "two")} == {Path("weights/b")}
