import os
import sys

import pytest

from dualdub_core.files import replacing


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
