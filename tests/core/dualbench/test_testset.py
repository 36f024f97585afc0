import hashlib
import json
import shutil

import pytest

from dualdub_core.dualbench.testset import clip_id, read_set, write_set
from dualdub_core.errors import InputError


@pytest.fixture
def copy(toy_set, tmp_path):
    """A set that may be damaged."""
    return shutil.copytree(toy_set, tmp_path / "copy")


@pytest.fixture
def rewritten(copy):
    """Changes the first line of the manifest, and `set.json` so that it fits."""

    def change(**values):
        lines = [json.loads(line) for line in (copy / "manifest.jsonl").read_text().splitlines()]
        lines[0] = {key: value for key, value in {**lines[0], **values}.items() if value is not ...}
        write_set(copy, lines, {"name": "changed"})
        return copy

    return change


def test_a_set_is_read_from_its_folder_or_its_manifest(toy_set):
    found = read_set(toy_set)
    assert found.name == "toy"
    assert [clip.id for clip in found.clips] == ["a", "b", "c", "d"]
    assert found.sha256 == hashlib.sha256((toy_set / "manifest.jsonl").read_bytes()).hexdigest()
    first = found.clips[0]
    assert (first.script, first.speaker, first.duration, first.events) == ("one two", "anna", 1.2, (0.28, 0.8))
    assert first.video.is_file()
    assert read_set(toy_set / "manifest.jsonl") == found


def test_a_limit_takes_the_first_clips_and_reports_progress(toy_set):
    seen = []
    found = read_set(toy_set, limit=2, progress=lambda *report: seen.append(report))
    assert [clip.id for clip in found.clips] == ["a", "b"]
    assert seen == [("check", 1, 2), ("check", 2, 2)]
    with pytest.raises(InputError, match="got no clips"):
        read_set(toy_set, limit=0)


def test_a_folder_without_a_set_says_how_one_is_made(tmp_path):
    with pytest.raises(InputError, match=r"no DualBench set .* python -m train.testset"):
        read_set(tmp_path)
    with pytest.raises(InputError, match="dualbench-nowhere: no DualBench set"):
        read_set("dualbench-nowhere")


def test_a_file_that_is_gone_or_another_is_refused(copy):
    path = copy / "clips" / "b.speech.flac"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"?")
    with pytest.raises(InputError, match=r"b.speech.flac: is not the speech that the manifest names"):
        read_set(copy)
    path.unlink()
    with pytest.raises(InputError, match=r"b.speech.flac: no such file, the speech of clip b"):
        read_set(copy)
    assert len(read_set(copy, limit=1).clips) == 1


@pytest.mark.parametrize("path", ["../secret.flac", "clips/../../secret.flac", "/etc/hostname", "", "."])
def test_no_path_leads_outside_of_the_set(rewritten, path):
    (rewritten().parent / "secret.flac").touch()
    with pytest.raises(InputError, match=r"expected one inside of the set|no such file"):
        read_set(rewritten(speech=path))


def test_a_link_that_leads_outside_is_refused(copy):
    path = copy / "clips" / "a.speech.flac"
    outside = copy.parent / "outside.flac"
    path.rename(outside)
    path.symlink_to(outside)
    with pytest.raises(InputError, match="expected one inside"):
        read_set(copy)


@pytest.mark.parametrize("name", ["b", "B"])
def test_an_id_that_is_there_twice_is_refused(rewritten, name):
    with pytest.raises(InputError, match="is there twice"):
        read_set(rewritten(id=name))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": "a.speech"}, "expected letters, digits"),
        ({"id": "../a"}, "expected letters, digits"),
        ({"id": 7}, "expected text under id"),
        ({"script": None}, "expected text under"),
        ({"sha256": "abc"}, "an object under sha256"),
        ({"duration": 0}, "expected seconds above 0"),
        ({"duration": "1.2"}, "expected seconds above 0"),
        ({"duration": float("nan")}, "expected seconds above 0"),
        ({"events": "0.5"}, "expected a list of seconds or null"),
        ({"more": 1}, r"missing or unknown keys \['more'\]"),
        ({"voice": ...}, r"missing or unknown keys \['voice'\]"),
    ],
)
def test_a_damaged_line_is_named(rewritten, changes, message):
    with pytest.raises(InputError, match=message) as error:
        read_set(rewritten(**changes))
    assert "line 1" in str(error.value)


def test_a_manifest_that_is_not_the_finished_one_is_refused(copy):
    manifest = copy / "manifest.jsonl"
    lines = manifest.read_text()
    manifest.write_text(lines.replace("one two", "one one"))
    with pytest.raises(InputError, match=r"is not the manifest that set.json was written for"):
        read_set(copy)
    manifest.write_text(lines)
    (copy / "set.json").unlink()
    with pytest.raises(InputError, match=r"set.json: no such file; the set was not finished"):
        read_set(copy)
    (copy / "set.json").write_text("{")
    with pytest.raises(InputError, match="is not JSON"):
        read_set(copy)
    (copy / "set.json").write_text('{"format": 0}')
    with pytest.raises(InputError, match="is not a set of format 1"):
        read_set(copy)


def test_lines_that_are_no_objects_are_refused(tmp_path):
    write_set(tmp_path, [], {"name": "empty"})
    with pytest.raises(InputError, match="got no clips"):
        read_set(tmp_path)
    for content, message in ((b"[1]\n", "keys list"), (b"{\n", "is not JSON"), (b"\xff\n", "is not UTF-8")):
        (tmp_path / "manifest.jsonl").write_bytes(content)
        card = {"format": 1, "manifest_sha256": hashlib.sha256(content).hexdigest()}
        (tmp_path / "set.json").write_text(json.dumps(card))
        with pytest.raises(InputError, match=message):
            read_set(tmp_path)


def test_names_become_ids_that_stay_different():
    assert clip_id("test-joint-0_1") == "test-joint-0_1"
    first, second = clip_id("v2c/Ice/Old Man/0001"), clip_id("v2c/Ice/Old_Man/0001")
    assert first.startswith("v2c_Ice_Old_Man_0001-")
    assert first != second
    assert clip_id("日本").startswith("clip-")
