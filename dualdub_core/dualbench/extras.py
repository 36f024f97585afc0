"""Packages that only the benchmark needs, asked for when a metric needs them."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from ..errors import ConfigError


def optional(module: str, *, package: str, what: str) -> Any:  # noqa: ANN401
    """Import a module of the extra `bench`.

    Args:
        module: to import.
        package: that holds it, by its name for pip.
        what: the metric that needs it.

    Raises:
        ConfigError: the package is not installed.
    """
    if find_spec(module.partition(".")[0]) is None:
        raise ConfigError(f'{what}: needs {package}, which is not installed; pip install "dualdub[bench]" or {package}')
    return import_module(module)
