"""What is left unsaid while a whole set is judged, since every clip would say the same."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_warnings(name: str) -> Iterator[None]:
    """Within it, this logger tells of errors only; afterwards it is as it was, whatever happened.

    Args:
        name: of the logger, such as `dualdub_core.voice`, which warns of every voice that is short.
    """
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
