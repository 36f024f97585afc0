import json

import pytest

from dualdub_core.batch import (
    Item,
    identity_of,
    parse_seeds,
    parse_table,
    read_items,
    run_batch,
    safe_name,
    with_seeds,
)
from dualdub_core.errors import InputError


def write(item: Item, folder) -> None:
    (folder / "sound.wav").write_text(item.values.get("seed", "0"))


def settings_of(item: Item) -> str:
    return identity_of(item.values, {})


def run(items, out, make=write, **more):
    return {name: o.status for name, o in run_batch(items, out, identity=settings_of, make=make, **more).items()}


def three() -> list[Item]:
    return [Item(name, {"seed": str(number)}) for number, name in enumerate("abc")]


def test_every_item_gets_a_folder_of_its_name_and_the_state_says_so(tmp_path):
    assert run(three(), tmp_path) == dict.fromkeys("abc", "done")
    assert (tmp_path / "b" / "sound.wav").read_text() == "1"
    state = json.loads((tmp_path / "batch.json").read_text())
    assert state["counts"] == {"done": 3}
    assert state["items"]["b"]["files"] == {"sound.wav": 1}
    assert {p.name for p in tmp_path.iterdir()} == {"a", "b", "c", "batch.json"}


def test_what_fails_is_told_and_does_not_stop_the_others(tmp_path):
    def make(item, folder):
        write(item, folder)
        if item.name == "b":
            raise InputError("b: cannot be read\nby anyone")

    assert run(three(), tmp_path, make) == {"a": "done", "b": "failed", "c": "done"}
    assert json.loads((tmp_path / "batch.json").read_text())["items"]["b"]["error"] == "b: cannot be read by anyone"
    assert not (tmp_path / "b").exists()
    assert run(three(), tmp_path) == {"a": "kept", "b": "done", "c": "kept"}


@pytest.mark.parametrize("killed", [KeyboardInterrupt, SystemExit])
def test_a_run_that_was_killed_goes_on_where_it_was(tmp_path, killed):
    def make(item, folder):
        write(item, folder)
        if item.name == "b":
            raise killed

    with pytest.raises(killed):
        run(three(), tmp_path, make)
    assert not (tmp_path / "b").exists()
    assert json.loads((tmp_path / "batch.json").read_text())["waiting"] == ["b", "c"]
    (tmp_path / "batch.json").unlink()  # a kill may also come before it is written
    assert run(three(), tmp_path) == {"a": "kept", "b": "done", "c": "done"}
    assert not list(tmp_path.glob(".*"))


def test_a_done_item_is_made_again_when_anything_about_it_changed(tmp_path):
    source = tmp_path / "in.txt"
    source.write_text("one")
    item = [Item("a")]

    def made(out="out"):
        def own(one):
            return identity_of(one.values, {"video": source})

        outcome = run_batch(item, tmp_path / out, identity=own, make=write)
        return outcome["a"].status

    assert [made(), made()] == ["done", "kept"]
    source.write_text("two")
    assert [made(), made()] == ["done", "kept"]
    (tmp_path / "out" / "a" / "sound.wav").write_text("cut off")
    assert [made(), made()] == ["done", "kept"]
    source.unlink()
    assert made() == "failed"
    assert run(item, tmp_path / "out", anew=True) == {"a": "done"}


def test_a_folder_that_no_batch_made_is_left_alone(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "diary.txt").write_text("mine")
    assert run(three(), tmp_path)["b"] == "failed"
    assert (tmp_path / "b" / "diary.txt").read_text() == "mine"


def test_the_identity_is_of_contents_and_not_of_places(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).write_text("same")
    first, second = (identity_of({"steps": 1}, {"video": tmp_path / name}) for name in ("one", "two"))
    assert first == second != identity_of({"steps": 2}, {"video": tmp_path / "one"})
    assert first != identity_of({"steps": 1}, {"voice": tmp_path / "one"})


def test_a_folder_gives_each_video_with_what_lies_beside_it(tmp_path):
    for name in ("b.mp4", "a.MKV", "a.srt", "a.voice.wav", "notes.doc", "b.mov", ".hidden.mp4"):
        (tmp_path / name).touch()
    assert read_items(tmp_path) == [
        Item("a", {"video": "a.MKV", "script": "@a.srt", "voice": "a.voice.wav"}),
        Item("b_mov", {"video": "b.mov"}),
        Item("b_mp4", {"video": "b.mp4"}),
    ]


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_a_table_gives_each_row(mark):
    text = f"\ufeffName{mark}video{mark}speech-seed\r\n{mark}clips\\a.mp4{mark}7\r\n\r\nlast{mark}clips/a.mp4{mark}\r\n"
    assert parse_table(text) == [
        Item("a", {"video": "clips\\a.mp4", "speech_seed": "7"}),
        Item("last", {"video": "clips/a.mp4"}),
    ]


def test_a_cell_may_hold_lines_of_a_script():
    (item,) = parse_table('name,script\na,"[00:01] one, two\n[00:02] ""three"""\n')
    assert item.values["script"] == '[00:01] one, two\n[00:02] "three"'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video,,seed\na.mp4,,1\n", "expected a name for each column"),
        ("video\na.mp4,1\n", "line 2 has more cells than the header"),
        ("video\na.mp4\nx/A.mov\n", "two items are called 'a'"),
        ("script\nhi\n", "a row has neither a name nor a video"),
        ("name,video\n../up,a.mp4\n", "got the name '../up'"),
        ('name\n"a\x00"\n', "got the name|not CSV"),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        parse_table(text)


@pytest.mark.parametrize("name", ["", " ", "a/b", "a\\b", "c:", "con", "NUL.txt", ".a", "a.", "a\nb", "a*"])
def test_names_that_some_system_cannot_keep_are_refused(name):
    with pytest.raises(InputError, match="got the name"):
        safe_name(name)


def test_seeds_are_numbers_and_ranges():
    assert parse_seeds("1, 5,\n9-12") == [1, 5, 9, 10, 11, 12]
    assert parse_seeds(" ") == []
    for text in ("x", "-3", "5-", "4-2", "1,1", "0-99999", str(2**64)):
        with pytest.raises(InputError, match="seeds: got"):
            parse_seeds(text)


def test_items_multiply_with_seeds_and_keep_telling_names():
    names = [item.name for item in with_seeds([Item("a"), Item("b")], [1, 7])]
    assert names == ["a_seed1", "a_seed7", "b_seed1", "b_seed7"]
    assert with_seeds([Item("a", {"seed": "1"})], [2])[0].values == {"seed": "2"}


def test_nothing_to_do_is_an_error(tmp_path):
    with pytest.raises(InputError, match="got no items"):
        read_items(tmp_path)
    with pytest.raises(InputError, match="no such file or folder"):
        read_items(tmp_path / "none")
