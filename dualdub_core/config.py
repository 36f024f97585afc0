"""Frozen dataclasses to JSON and back, strictly: an unknown or missing key is an error."""

import dataclasses
import sys
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from .errors import ConfigError, shortened
from .limits import within

C = TypeVar("C")


def to_dict(config: Any) -> dict[str, Any]:  # noqa: ANN401
    """A config as plain JSON values."""
    return dataclasses.asdict(config)


def from_dict(cls: type[C], values: Mapping[str, Any], where: str = "config") -> C:
    """Build `cls` from plain JSON values.

    Raises:
        ConfigError: a key is unknown or missing, or a value has the wrong type.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where}: got {_kind(values)}, expected an object")
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(map(str, set(values) - set(fields)))
    if unknown:
        raise ConfigError(f"{where}: unknown keys {unknown}; known keys are {sorted(fields)}")
    missing = sorted(
        name
        for name, f in fields.items()
        if name not in values and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    )
    if missing:
        raise ConfigError(f"{where}: missing keys {missing}")
    hints = typing.get_type_hints(cls)
    return cls(**{name: _convert(hints[name], value, f"{where}.{name}") for name, value in values.items()})


def _convert(hint: Any, value: Any, where: str) -> Any:  # noqa: ANN401
    if dataclasses.is_dataclass(hint):
        return from_dict(typing.cast(type, hint), value, where)
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return _convert(next(a for a in args if a is not type(None)), value, where)
    if origin is typing.Literal:
        if value not in args:
            raise ConfigError(f"{where}: got {value!r}, expected one of {list(args)}")
        return value
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{where}: got {_kind(value)}, expected a list")
        return tuple(_convert(args[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    return _plain(hint, value, where)


def _kind(value: Any) -> str:  # noqa: ANN401
    return "nothing" if value is None else type(value).__name__


def _plain(hint: type, value: Any, where: str) -> Any:  # noqa: ANN401
    """A number, a text or a truth value."""
    if hint is float and type(value) in (int, float):
        if not within(value, -sys.float_info.max, sys.float_info.max):
            raise ConfigError(f"{where}: got {shortened(value, 40)}, expected a finite number")
        return float(value)
    if type(value) is not hint:
        told = f"{shortened(repr(value), 40)} ({type(value).__name__})"
        raise ConfigError(f"{where}: got {told}, expected {hint.__name__}")
    return value
