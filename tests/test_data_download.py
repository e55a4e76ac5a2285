"""Downloads from a real https server on this machine, and archives that mean harm."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import ssl
import stat
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import trustme
import urllib3

from robustreg.data import download
from robustreg.data.archive import gunzip, unpack
from robustreg.data.download import data_home, fetch
from robustreg.errors import DataError, DiskFullError

CONTENT = bytes(range(256)) * 2000
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
MD5 = "md5:" + hashlib.md5(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Answers by path; counts what it was asked."""

    def do_GET(self):
        self.server.asked.append(self.path)
        answer = getattr(self, "answer_" + self.path.strip("/").split("/")[0])
        answer()

    def send(self, body, status=200, claim=None, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if claim != "nothing":
            self.send_header("Content-Length", str(claim or len(body)))
        self.end_headers()
        self.wfile.write(body)

    def answer_whole(self):
        self.send(CONTENT)

    def answer_unsized(self):
        self.send(CONTENT, claim="nothing")

    def answer_cut(self):
        self.send(CONTENT[:1000], claim=len(CONTENT))
        self.close_connection = True

    def answer_page(self):
        self.send(b"\n <!DOCTYPE HTML><title>Please log in</title>", Content_Type="text/html")

    def answer_gone(self):
        self.send(b"no", status=404)

    def answer_moved(self):
        self.send(b"", status=302, Location="/whole")

    def answer_downgrade(self):
        self.send(b"", status=302, Location=self.server.plain)

    def answer_twice(self):
        self.send(b"", status=302, Location="/downgrade")

    def answer_elsewhere(self):
        self.send(b"", status=302, Location="file:///etc/passwd")

    def answer_loop(self):
        self.send(b"", status=302, Location="/loop")

    def answer_flaky(self):
        self.answer_cut() if self.server.asked.count("/flaky") == 1 else self.answer_whole()

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    authority = trustme.CA()
    trust = tmp_path_factory.mktemp("trust") / "ca.pem"
    authority.cert_pem.write_to_path(trust)
    secure, plain = (ThreadingHTTPServer(("127.0.0.1", 0), Handler) for _ in range(2))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    secure.socket = context.wrap_socket(secure.socket, server_side=True)
    for server in (secure, plain):
        server.asked = []
        server.plain = f"http://127.0.0.1:{plain.server_port}/whole"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield secure, plain, str(trust)
    for server in (secure, plain):
        server.shutdown()
        server.server_close()


@pytest.fixture
def get(servers, tmp_path, monkeypatch):
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    secure, plain, trust = servers
    secure.asked.clear()
    plain.asked.clear()

    def get(path, *, known_hash=None, max_bytes=1 << 20, verify=trust, to=tmp_path / "cache" / "file.bin"):
        url = path if ":" in path else f"https://127.0.0.1:{secure.server_port}/{path}"
        return fetch(url, known_hash=known_hash, to=to, max_bytes=max_bytes, verify=verify)

    return get


def left(tmp_path):
    folder = tmp_path / "cache"
    return sorted(file.name for file in folder.iterdir()) if folder.exists() else []


@pytest.mark.parametrize("path", ["whole", "moved", "unsized"])
@pytest.mark.parametrize("known_hash", [None, SHA256, MD5])
def test_a_complete_file_arrives_under_its_name_only(get, tmp_path, path, known_hash, capsys):
    assert get(path, known_hash=known_hash).read_bytes() == CONTENT
    assert left(tmp_path) == ["file.bin"]
    assert capsys.readouterr() == ("", "")  # a library does not print


@pytest.mark.parametrize(
    "path, options, says",
    [
        ("cut", {}, "cut off after 1,000 of 512,000 bytes|IncompleteRead"),
        ("cut", {"known_hash": SHA256}, "cut off after 1,000 of 512,000 bytes|IncompleteRead"),
        ("whole", {"known_hash": "sha256:" + "0" * 64}, "does not match"),
        ("page", {}, "web page"),
        ("page", {"known_hash": SHA256}, "web page"),
        ("gone", {}, "404"),
        ("downgrade", {}, "only https"),
        ("twice", {}, "only https"),
        ("elsewhere", {}, "only https"),
        ("loop", {}, "redirects"),
        ("whole", {"max_bytes": 511_999}, "larger than the 511,999 bytes"),
        ("unsized", {"max_bytes": 511_999}, "larger than the 511,999 bytes"),
        ("whole", {"verify": True}, "certificate"),
        ("https://127.0.0.1:1/nobody-listens", {}, "refused"),
    ],
)
def test_a_failed_download_says_why_and_leaves_nothing(get, tmp_path, servers, path, options, says):
    with pytest.raises(DataError, match=says) as caught:
        get(path, **options)
    assert "Try again" in str(caught.value) and "file.bin" in str(caught.value)
    assert left(tmp_path) == []
    assert servers[1].asked == []  # nothing was ever asked over plain http
    assert get("whole", known_hash=SHA256).read_bytes() == CONTENT  # and the next try works


def test_a_cut_is_noticed_also_where_urllib3_does_not_look(get, tmp_path, monkeypatch):
    never = property(lambda self: False, lambda self, value: None)  # as releases before 2 were
    monkeypatch.setattr(urllib3.response.HTTPResponse, "enforce_content_length", never, raising=False)
    with pytest.raises(DataError, match="cut off after 1,000 of 512,000 bytes"):
        get("cut")
    assert left(tmp_path) == []


def test_plain_http_is_not_even_asked(get, tmp_path, servers):
    with pytest.raises(DataError, match="only https"):
        get(servers[1].plain)
    assert servers[1].asked == [] and left(tmp_path) == []


def test_a_file_cut_off_once_is_whole_the_second_time(get, tmp_path):
    with pytest.raises(DataError):
        get("flaky")
    assert get("flaky").read_bytes() == CONTENT and left(tmp_path) == ["file.bin"]


def test_a_file_with_the_known_hash_is_not_fetched_again_and_a_damaged_one_is(get, tmp_path, servers):
    file = get("whole", known_hash=SHA256)
    get("whole", known_hash=SHA256)
    assert servers[0].asked == ["/whole"]
    file.write_bytes(b"damaged")
    assert get("whole", known_hash=SHA256).read_bytes() == CONTENT
    assert servers[0].asked == ["/whole"] * 2


def test_a_full_disk_is_named_as_such(get, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(download, "_receive", full)
    with pytest.raises(DiskFullError, match="ROBUSTREG_DATA"):
        get("whole")
    assert left(tmp_path) == []


def test_the_data_folder_can_be_moved(monkeypatch, tmp_path):
    monkeypatch.setenv("ROBUSTREG_DATA", str(tmp_path))
    assert data_home() == tmp_path
    monkeypatch.delenv("ROBUSTREG_DATA")
    assert data_home().name == "robustreg"


def make_zip(file, members):
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file


def make_tar(file, members, mode="w:gz"):
    with tarfile.open(file, mode) as archive:
        for name, content in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file


def make_tar_plain(file, members):
    return make_tar(file, members, "w")


def linked(name, to, kind=tarfile.SYMTYPE):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info, b""


def everything_below(folder):
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*"))


GOOD = [("a/1.txt", b"one"), ("a/b/2.txt", b"two" * 1000), ("3.txt", b"")]
MAKERS = [make_zip, make_tar, make_tar_plain]


@pytest.mark.parametrize("make", MAKERS)
def test_an_honest_archive_is_unpacked(tmp_path, make):
    folder = unpack(make(tmp_path / "archive", GOOD), tmp_path / "new" / "folder")
    assert {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()} == dict(GOOD)
    assert everything_below(tmp_path / "new") == ["folder", *(f"folder/{n}" for n in everything_below(folder))]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    "name", ["../out.txt", "a/../../out.txt", "/tmp/out.txt", "..\\out.txt", "C:\\out.txt", "C:out.txt"]
)
def test_a_member_that_leads_outside_refuses_the_archive(tmp_path, make, name):
    inner = tmp_path / "deep" / "er"
    archive = make(tmp_path / "archive", [*GOOD, (name, b"out")])
    with pytest.raises(DataError, match="outside of the folder"):
        unpack(archive, inner / "folder")
    assert everything_below(tmp_path / "deep") == ["er"]


@pytest.mark.parametrize(
    "members",
    [
        [linked("a", "/etc"), ("a/passwd", b"x")],
        [linked("a", "../.."), ("a/out.txt", b"x")],
        [linked("inside", "3.txt")],
        [linked("hard", "../../secret", tarfile.LNKTYPE)],
        [linked("device", "", tarfile.CHRTYPE)],
        [linked("pipe", "", tarfile.FIFOTYPE)],
    ],
)
def test_links_and_devices_in_a_tar_refuse_it(tmp_path, members):
    with pytest.raises(DataError, match="is a link or device"):
        unpack(make_tar(tmp_path / "archive", [*GOOD, *members]), tmp_path / "new" / "folder")
    assert everything_below(tmp_path / "new") == []


def test_a_link_in_a_zip_refuses_it(tmp_path):
    info = zipfile.ZipInfo("link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(DataError, match="is a link or device"):
        unpack(make_zip(tmp_path / "archive", [(info, b"/etc/passwd")]), tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


@pytest.mark.parametrize("make", MAKERS)
def test_archives_made_to_fill_the_disk_are_stopped(tmp_path, make):
    big = make(tmp_path / "big", [("zeros", bytes(1 << 20)), ("more", bytes(1 << 20))])
    many = make(tmp_path / "many", [(f"{n}", b"") for n in range(50)])
    with pytest.raises(DataError, match="more bytes"):
        unpack(big, tmp_path / "new" / "folder", max_bytes=(2 << 20) - 1)
    with pytest.raises(DataError, match="more than 49 members"):
        unpack(many, tmp_path / "new" / "folder", max_members=49)
    assert everything_below(tmp_path / "new") == []
    unpack(big, tmp_path / "new" / "big", max_bytes=2 << 20)
    unpack(many, tmp_path / "new" / "many", max_members=50)


@pytest.mark.parametrize("make", MAKERS)
def test_a_name_that_occurs_twice_refuses_the_archive(tmp_path, make):
    with pytest.warns(UserWarning) if make is make_zip else nothing():
        archive = make(tmp_path / "archive", [("a", b"1"), ("a", b"2")])
    with pytest.raises(DataError, match="twice"):
        unpack(archive, tmp_path / "folder")


class nothing:
    def __enter__(self):
        return self

    def __exit__(self, *arguments):
        return None


@pytest.mark.parametrize("make", MAKERS)
def test_a_damaged_archive_is_an_error_and_leaves_nothing(tmp_path, make):
    archive = make(tmp_path / "archive", [("noise", hashlib.shake_128(b"").digest(5000)), *GOOD])
    whole = archive.read_bytes()
    cuts = [0, 100, len(whole) // 2, len(whole) - 40]
    if make is make_tar_plain:  # at the start, inside of and between members; it ends in more than 1,024 zeros
        cuts = [0, 100, 512, 3000, 512 + 5120, 512 + 5120 + 512]
    for cut in cuts:
        archive.write_bytes(whole[:cut])
        with pytest.raises(DataError, match=r"damaged|neither"):
            unpack(archive, tmp_path / "new" / "folder")
        assert everything_below(tmp_path / "new") == []
    flipped = bytearray(whole)
    flipped[5700 if make is make_tar_plain else 2000] ^= 255  # a header in a plain tar: its contents have no check sum
    archive.write_bytes(bytes(flipped))
    with pytest.raises(DataError, match="damaged"):
        unpack(archive, tmp_path / "new" / "folder")
    assert everything_below(tmp_path / "new") == []


def test_a_web_page_is_no_archive(tmp_path):
    (tmp_path / "archive").write_text("<html>")
    with pytest.raises(DataError, match="neither a zip nor a tar"):
        unpack(tmp_path / "archive", tmp_path / "folder")


def test_nothing_is_unpacked_over_what_is_there(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="exists already"):
        unpack(make_zip(tmp_path / "archive", GOOD), tmp_path / "folder")


def test_gunzip_gives_the_content_or_nothing(tmp_path):
    archive = tmp_path / "file.gz"
    archive.write_bytes(gzip.compress(CONTENT))
    assert gunzip(archive, tmp_path / "file").read_bytes() == CONTENT
    (tmp_path / "file").unlink()
    with pytest.raises(DataError, match="more bytes"):
        gunzip(archive, tmp_path / "file", max_bytes=len(CONTENT) - 1)
    archive.write_bytes(gzip.compress(CONTENT)[:-20])
    with pytest.raises(DataError, match="damaged"):
        gunzip(archive, tmp_path / "file")
    assert everything_below(tmp_path) == ["file.gz"]
