"""What those who take a programme ask of its level, by name, with the document that asks it.

- EBU R 128, "Loudness normalisation and permitted maximum level of audio signals": -23.0 LUFS, -1 dBTP.
- ATSC A/85, "Techniques for Establishing and Maintaining Audio Loudness for Digital Television": -24 LKFS, -2 dBTP.
- Spotify for Artists, "Loudness normalization": -14 LUFS, -1 dBTP; YouTube is seen to play at the same level.
- Apple Podcasts for Creators, "Audio requirements": -16 LKFS, -1 dB true peak.
- Netflix Partner Help Center, "Netflix Sound Mix Specifications & Best Practices": -27 LKFS within 2 LU, gated by
  dialogue (BS.1770-1), -2 dB true peak. Netflix's meter finds dialogue by a classifier. We have none: the mix is
  measured, without level gates, where our own speech stem is heard, which for one programme of one speech stem is
  the same question but not the same meter.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from ..errors import ConfigError
from .mixing import MixConfig

DRIVE_DB = 6.0
"""How far a delivery may push the limiter for its target; beyond, the limiter would be heard."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """One preset.

    Attributes:
        label: for people.
        target_lufs: of the mix.
        ceiling_db: the most true peak, dBTP.
        target_over: what the loudness is measured over.
    """

    label: str
    target_lufs: float
    ceiling_db: float
    target_over: Literal["programme", "speech"] = "programme"


DELIVERIES: Mapping[str, Delivery] = {
    "r128": Delivery(label="EBU R 128: -23 LUFS, -1 dBTP", target_lufs=-23.0, ceiling_db=-1.0),
    "a85": Delivery(label="ATSC A/85: -24 LKFS, -2 dBTP", target_lufs=-24.0, ceiling_db=-2.0),
    "streaming": Delivery(label="streaming: -14 LUFS, -1 dBTP", target_lufs=-14.0, ceiling_db=-1.0),
    "podcast": Delivery(label="podcast: -16 LUFS, -1 dBTP", target_lufs=-16.0, ceiling_db=-1.0),
    "netflix": Delivery(
        label="Netflix: -27 LKFS over our speech, -2 dBTP",
        target_lufs=-27.0,
        ceiling_db=-2.0,
        target_over="speech",
    ),
}


def delivered(config: MixConfig, name: str, *, drive_db: float = DRIVE_DB) -> MixConfig:
    """A mix with a preset's loudness and ceiling in place of its own.

    Raises:
        ConfigError: there is no such preset.
    """
    if name not in DELIVERIES:
        raise ConfigError(f"delivery: got '{name}', expected one of {', '.join(DELIVERIES)}")
    preset = DELIVERIES[name]
    return replace(
        config,
        target_lufs=preset.target_lufs,
        ceiling_db=preset.ceiling_db,
        target_over=preset.target_over,
        drive_db=drive_db,
    )
