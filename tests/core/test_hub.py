"""The real download code against a hub that runs here."""

import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from dualdub_core.errors import CheckpointError
from dualdub_core.hub import PUBLISHED, download

CONTENT = b"weights" * 1000
FETCH = """
import sys
from dualdub_core.errors import CheckpointError
from dualdub_core.hub import download
try:
    print(download(sys.argv[1], sys.argv[2]))
except CheckpointError as error:
    sys.exit(f"refused: {error}")
"""


class Hub(BaseHTTPRequestHandler):
    """Answers for every file of every repository with the same content."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self._answer(b"")

    def do_GET(self):
        self._answer(CONTENT)

    def _answer(self, body):
        self.send_response(200)
        self.send_header("ETag", '"0123456789abcdef"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def fetch(name, folder, **environment):
    root = str(Path(__file__).resolve().parents[2])
    settings = os.environ | {"PYTHONPATH": root, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(folder / "hf")} | environment
    return subprocess.run(
        [sys.executable, "-c", FETCH, name, str(folder / "models")], env=settings, capture_output=True, text=True
    )


def test_a_file_is_fetched_whole_and_under_our_name(hub, tmp_path):
    run = fetch("wavtokenizer", tmp_path, HF_ENDPOINT=hub)
    assert run.returncode == 0, run.stderr
    target = tmp_path / "models" / PUBLISHED["wavtokenizer"].save_as
    assert run.stdout.strip() == str(target)
    assert target.read_bytes() == CONTENT


def test_content_that_is_not_what_was_published_is_refused_and_removed(hub, tmp_path):
    run = fetch("clip", tmp_path, HF_ENDPOINT=hub)
    assert run.returncode != 0
    assert "refused: download of 'clip': the content is not what was published" in run.stderr
    assert not list((tmp_path / "models").rglob("*.safetensors"))


def test_without_a_network_the_error_says_what_to_fetch_by_hand(tmp_path):
    run = fetch("vae", tmp_path, HF_HUB_OFFLINE="1")
    assert run.returncode != 0
    assert f"fetch {PUBLISHED['vae'].url} by hand and save it as" in run.stderr


def test_a_file_that_is_there_is_left_alone(tmp_path):
    target = tmp_path / PUBLISHED["clip"].save_as
    target.write_bytes(b"mine")
    assert download("clip", tmp_path) == target
    assert target.read_bytes() == b"mine"


def test_an_unknown_name_lists_the_known_ones(tmp_path):
    with pytest.raises(CheckpointError, match="unknown name 'x'; known are clip, wavtokenizer, vae"):
        download("x", tmp_path)
