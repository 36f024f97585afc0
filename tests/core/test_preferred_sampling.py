"""How a model is sampled: what is given, else what its checkpoint prefers, else the usual."""

import pytest

from dualdub_core.errors import ConfigError
from dualdub_core.sampling import SamplingConfig, StreamSampling
from dualdub_core.system import preferred_sampling

PREFERRED = {
    "speech": {"temperature": 0.3, "top_k": 20, "top_p": 1.0},
    "background": {"temperature": 0.9, "top_k": 0, "top_p": 1.0},
    "cfg_scale": 2.0,
}


def test_a_checkpoint_that_says_nothing_is_sampled_as_usual():
    assert preferred_sampling({"name": "x"}) == SamplingConfig()


def test_a_checkpoint_s_own_settings_are_read():
    config = preferred_sampling({"preferred_sampling": PREFERRED})
    assert config.speech == StreamSampling(temperature=0.3, top_k=20)
    assert config.background == StreamSampling(temperature=0.9, top_k=0)
    assert config.cfg_scale == 2.0


@pytest.mark.parametrize("values", [{"speach": {}}, {"speech": {"temperature": "hot"}}, {"cfg_scale": 99.0}, [1]])
def test_settings_that_are_none_are_refused(values):
    with pytest.raises(ConfigError, match=r"preferred_sampling|sampling"):
        preferred_sampling({"preferred_sampling": values})


def test_what_is_given_counts_before_what_is_preferred():
    config = preferred_sampling({"preferred_sampling": PREFERRED})
    changed = config.but(speech_temperature=0.0, background_top_k=5, cfg_scale=None)
    assert changed.speech == StreamSampling(temperature=0.0, top_k=20)
    assert changed.background == StreamSampling(temperature=0.9, top_k=5)
    assert changed.cfg_scale == 2.0
    assert config.but() == config


def test_what_is_given_is_checked():
    with pytest.raises(ConfigError, match="temperature -1"):
        SamplingConfig().but(speech_temperature=-1.0)
