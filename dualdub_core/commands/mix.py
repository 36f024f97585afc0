"""The options of `dualdub generate` for the mix."""

import argparse

from ..errors import InputError
from ..mixing.delivery import DELIVERIES, delivered
from ..mixing.mixing import MixConfig


def add_mix(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument_group("mix").add_argument
    add("--speech-gain", type=float, default=0.0, help="dB")
    add("--background-gain", type=float, default=0.0, help="dB")
    add("--duck", type=float, default=0.0, help="dB the background yields to speech")
    add("--lufs", type=float, help="loudness of the mix")
    presets = "; ".join(f"{name} {delivery.label.partition(': ')[2]}" for name, delivery in DELIVERIES.items())
    add("--delivery", choices=list(DELIVERIES), help=f"loudness and true peak of a standard: {presets}")
    add("--speech-over-bed", type=float, metavar="LU", help="loudness of speech over the background while it lasts")
    add("--stereo", action="store_true", help="two channels, of mono stems too")


def mix_config(options: argparse.Namespace) -> MixConfig:
    """What the options ask for.

    Raises:
        InputError: two of them contradict each other.
        ConfigError: a value is out of range.
    """
    if options.lufs is not None and options.delivery is not None:
        raise InputError("mix: got --lufs and --delivery, expected one of them")
    config = MixConfig(
        speech_gain_db=options.speech_gain,
        background_gain_db=options.background_gain,
        ducking_db=options.duck,
        target_lufs=options.lufs,
        speech_over_bed=options.speech_over_bed,
        stereo=options.stereo,
    )
    return config if options.delivery is None else delivered(config, options.delivery)
