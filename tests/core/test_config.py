import json
from dataclasses import dataclass
from typing import Literal

import pytest

from dualdub_core.config import from_dict, to_dict
from dualdub_core.errors import ConfigError
from dualdub_core.models.dualdub import DualDubConfig
from dualdub_core.timing import FrameClock


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    width: int
    scale: float
    kind: Literal["a", "b"]
    sizes: tuple[int, ...]
    clock: FrameClock
    name: str | None = None


GOOD = {"width": 1, "scale": 2, "kind": "a", "sizes": [1, 2], "clock": {"sample_rate": 24000, "hop_length": 600}}


def test_json_and_back_is_the_same_config():
    for config in (DualDubConfig.paper(), DualDubConfig.mini()):
        assert from_dict(DualDubConfig, json.loads(json.dumps(to_dict(config)))) == config
    assert from_dict(Example, GOOD).sizes == (1, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": 3}, r"config: unknown keys \['depth'\]; known keys are"),
        ({"width": "wide"}, r"config.width: got 'wide' \(str\), expected int"),
        ({"width": True}, r"config.width: got True \(bool\), expected int"),
        ({"kind": "c"}, r"config.kind: got 'c', expected one of"),
        ({"sizes": 3}, "config.sizes: got int, expected a list"),
        ({"clock": {"sample_rate": 24000}}, r"config.clock: missing keys \['hop_length'\]"),
        ({"clock": 7}, "config.clock: got int, expected an object"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(change, message):
    with pytest.raises(ConfigError, match=message):
        from_dict(Example, GOOD | change)
