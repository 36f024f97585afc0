import logging

import pytest

from dualdub_core.dualbench.notices import without_warnings


def test_a_logger_is_quiet_for_a_while_and_then_as_it_was(caplog):
    logger = logging.getLogger("dualdub_core.tests.notices")
    logger.setLevel(logging.INFO)
    with pytest.raises(ValueError, match="a clip"), without_warnings(logger.name):
        logger.warning("short")
        logger.error("broken")
        raise ValueError("a clip")
    logger.warning("heard again")
    assert [record.message for record in caplog.records] == ["broken", "heard again"]
    assert logger.level == logging.INFO
