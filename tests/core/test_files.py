import os
import subprocess
import sys

import pytest

from dualdub_core import files
from dualdub_core.files import remove_folder, replacing, replacing_folder


def test_the_target_appears_only_at_the_end(tmp_path):
    target = tmp_path / "new" / "a.wav"
    with replacing(target) as temporary:
        assert temporary.suffix == ".wav"
        temporary.write_text("x")
        assert not target.exists()
    assert target.read_text() == "x"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path, error):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(error), replacing(target) as temporary:
        temporary.write_text("half")
        raise error
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.skipif(sys.platform == "win32", reason="permissions as POSIX has them")
def test_a_file_has_the_permissions_of_any_other(tmp_path):
    plain, target = tmp_path / "plain", tmp_path / "target"
    plain.touch()
    with replacing(target) as temporary:
        temporary.unlink()
        os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY, 0o600))
    assert target.stat().st_mode == plain.stat().st_mode


def test_a_file_may_have_the_longest_name_there_is(tmp_path):
    target = tmp_path / ("x" * 251 + ".txt")
    with replacing(target) as temporary:
        temporary.write_text("x")
    assert target.read_text() == "x"


def test_a_folder_takes_the_place_of_another_whole(tmp_path):
    target = tmp_path / "take"
    for number in range(2):
        with replacing_folder(target) as temporary:
            (temporary / f"{number}.txt").write_text("x")
    assert [path.name for path in target.iterdir()] == ["1.txt"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_that_fails_leaves_the_old_one(tmp_path):
    target = tmp_path / "take"
    target.mkdir()
    with pytest.raises(KeyboardInterrupt), replacing_folder(target):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == [target]


def test_two_who_write_the_same_folder_do_no_harm(tmp_path):
    target = tmp_path / "take"
    with replacing_folder(target) as one, replacing_folder(target) as other:
        (one / "a").write_text("one")
        (other / "a").write_text("other")
    assert (target / "a").read_text() == "one"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_is_removed_with_all_in_it(tmp_path):
    (tmp_path / "takes" / "deep").mkdir(parents=True)
    remove_folder(tmp_path / "takes")
    remove_folder(tmp_path / "takes")
    assert list(tmp_path.iterdir()) == []


KILLED = """
import importlib.util, os, signal, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("files", sys.argv[1])
files = importlib.util.module_from_spec(spec)
spec.loader.exec_module(files)
with files.replacing(Path(sys.argv[2])) as temporary:
    temporary.write_text("half")
    (temporary.parent / ".tmpOfAWriter").touch()
    if sys.argv[3] == "wait":
        print("writing", flush=True)
        sys.stdin.read()
    else:
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no locks of folders")
def test_what_a_killed_writer_left_is_removed_by_the_next_and_nothing_else_is(tmp_path):
    stranger = tmp_path / ".0-0.part"
    stranger.mkdir()
    command = [sys.executable, "-c", KILLED, files.__file__, str(tmp_path / "a.txt")]
    subprocess.run([*command, "kill"], check=False)
    (left,) = set(tmp_path.iterdir()) - {stranger}
    assert left.name.startswith(".")
    with subprocess.Popen([*command, "wait"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as living:
        living.stdout.readline()
        assert not left.exists()
        with replacing(tmp_path / "b.txt") as temporary:
            temporary.write_text("x")
        living.communicate()
    assert {path.name for path in tmp_path.iterdir()} == {"a.txt", "b.txt", stranger.name}
