import dataclasses
import hashlib
import http.server
import threading

import pytest

from moda import weights
from moda.errors import UserError
from moda.weights import registry
from moda.weights.install import add, download
from moda.weights.locate import cached_path

CONTENT = b"the right content" * 1000


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT; /short promises more than it sends."""

    def do_GET(self):
        if self.path == "/gone" or self.path.endswith("absent.bin"):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header(
            "Content-Type", "text/html; charset=utf-8" if self.path == "/page" else "application/octet-stream"
        )
        self.send_header("Content-Length", str(len(CONTENT) + (100 if self.path == "/short" else 0)))
        self.end_headers()
        self.wfile.write(CONTENT)  # the same for every file

    def log_message(self, format, *args):
        """Keep the test's output clean."""


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as instance:
        thread = threading.Thread(target=instance.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{instance.server_port}"
        instance.shutdown()
        thread.join()


@pytest.fixture
def register(tmp_path, monkeypatch):
    """Make a weight called toy the only one, in an empty cache; returns a function that changes its entry."""
    monkeypatch.delenv("MODA_WEIGHTS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    weight = registry.Weight(
        name="toy", purpose="a test", licence="CC0-1.0", commercial=True, filename="toy.bin",
        source="https://example.org/toy", sha256=hashlib.sha256(CONTENT).hexdigest(),
    )  # fmt: skip

    def change(**settings):
        changed = dataclasses.replace(weight, **settings)
        monkeypatch.setattr(registry, "REGISTRY", {"toy": changed})
        return changed

    change()
    return change


def test_download_reports_progress_and_is_found(register, server):
    register(download=f"{server}/toy.bin")
    seen = []
    path = download("toy", lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert weights.find("toy") == path
    assert seen[-1] == (len(CONTENT), len(CONTENT))


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        ("gone", "Not Found.*moda weights add toy PATH"),
        ("short", "broke off|IncompleteRead"),
        ("page", "a web page instead of the file.*moda weights add toy PATH"),
    ],
)
def test_a_failed_download_leaves_nothing(register, server, page, reason):
    weight = register(download=f"{server}/{page}")
    with pytest.raises(UserError, match=reason):
        download("toy", lambda done, total: None)
    assert list(cached_path(weight).parent.iterdir()) == []


def test_without_a_network_the_message_says_every_other_way(register):
    package = registry.PackagedCopy("toy-dist", "toypackage", "toy.bin")
    register(download="http://127.0.0.1:9/toy.bin", packaged=package)  # nothing listens on the discard port
    with pytest.raises(UserError) as caught:
        download("toy", lambda done, total: None)
    for part in ("http://127.0.0.1:9/toy.bin", "moda weights add toy PATH", "pip install --no-deps toy-dist"):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_content_is_not_kept(register, server):
    weight = register(download=f"{server}/toy.bin", sha256="0" * 64)
    with pytest.raises(UserError, match="another file"):
        download("toy", lambda done, total: None)
    assert not cached_path(weight).exists()


def test_a_weight_without_an_address_says_where_it_comes_from(register):
    register(download=None)
    with pytest.raises(UserError, match=r"https://example\.org/toy"):
        download("toy", lambda done, total: None)


def test_add_copies_only_the_registered_content(register, tmp_path):
    weight = register()
    wrong, right = tmp_path / "wrong", tmp_path / "right"
    wrong.write_bytes(b"something else")
    right.write_bytes(CONTENT)
    with pytest.raises(UserError, match="not the registered file"):
        add("toy", wrong)
    assert not cached_path(weight).exists()
    assert add("toy", right).read_bytes() == CONTENT
    assert right.exists()
    for bad, reason in ((tmp_path / "nothing", "does not exist"), (tmp_path, "is a directory")):
        with pytest.raises(UserError, match=reason):
            add("toy", bad)
    assert weights.find("toy").read_bytes() == CONTENT


def test_add_takes_a_directory_where_the_weight_is_one(register, tmp_path):
    register(filename="toy_data", probe="base.obj")
    (tmp_path / "data" / "more").mkdir(parents=True)
    (tmp_path / "data" / "base.obj").write_bytes(CONTENT)
    (tmp_path / "data" / "more" / "target").write_text("1 2 3")
    path = add("toy", tmp_path / "data")
    assert (path / "more" / "target").read_text() == "1 2 3"
    assert weights.find("toy") == path


FOLDER = {"filename": "toy_data", "probe": "config.json", "files": ("config.json", "model.bin")}


def test_a_directory_is_downloaded_file_by_file(register, server):
    register(download=f"{server}/repository", **FOLDER)
    path = download("toy", lambda done, total: None)
    assert sorted(file.name for file in path.iterdir()) == ["config.json", "model.bin"]
    assert (path / "model.bin").read_bytes() == CONTENT
    assert weights.find("toy") == path


def test_half_a_directory_is_not_kept_and_the_message_names_its_files(register, server):
    weight = register(download=f"{server}/repository", **FOLDER | {"files": ("config.json", "absent.bin")})
    with pytest.raises(
        UserError, match="config.json, absent.bin into one folder.*moda weights add toy FOLDER"
    ) as error:
        download("toy", lambda done, total: None)
    assert f"{server}/repository/absent.bin" in str(error.value)
    assert list(cached_path(weight).parent.iterdir()) == []


def test_after_a_download_that_broke_off_the_next_one_starts_anew(register, server):
    weight = register(download=f"{server}/short")
    with pytest.raises(UserError):
        download("toy", lambda done, total: None)
    register(download=f"{server}/toy.bin")
    assert download("toy", lambda done, total: None).read_bytes() == CONTENT
    assert [path.name for path in cached_path(weight).parent.iterdir()] == ["toy.bin"]
