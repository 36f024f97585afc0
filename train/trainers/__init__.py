"""What is trained, one file a part: a module whose forward gives the losses of a batch, and the data it reads."""

from . import casp, codec, flow, language, vae, video_encoder
from .objective import Maker

MAKERS: dict[str, Maker] = {
    "codec": codec.make,
    "vae": vae.make,
    "flow": flow.make,
    "video_encoder": video_encoder.make,
    "language": language.make,
    "casp": casp.make,
}
"""By the name of the section in a run's configuration."""
