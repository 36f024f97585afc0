"""Nodes that turn codes into two stems of equal length."""

from typing import Any

from comfy.sd import VAE
from comfy_api.latest import io

from ..dualdub_core.long.decoding import decode_codec_long, decode_flow_long
from ..dualdub_core.types import Codes, Soundtrack
from . import adapters as a
from . import origin
from .comfy_vae import ComfyVae

CATEGORY = "audio/dualdub"


def _stems() -> list[io.Output]:
    return [
        io.Audio.Output("speech", tooltip="The speech alone; silence if the task wrote none."),
        io.Audio.Output("background", tooltip="The background alone, exactly as long as the speech."),
    ]


class FlowDecode(io.ComfyNode):
    """Codes to stems in final quality."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's face."""
        return io.Schema(
            node_id="DualDub_FlowDecode",
            display_name="Flow-Matching Decode (DualDub)",
            category=CATEGORY,
            description="Final quality: codes to latents by flow matching, then to sound by the VAE, ours or "
            "ComfyUI's own, both stems at once. They keep their balance and are exactly as long as the clip.",
            search_aliases=["decode audio", "final decode", "vae decode audio", "flow matching"],
            inputs=[
                a.Decoder.Input("decoder", tooltip="From Load DualDub or Load Flow Decoder."),
                io.MultiType.Input(
                    "vae",
                    types=[a.AudioVae, io.Vae],
                    tooltip="The VAE that the decoder was trained for: ours, or Stable Audio's as ComfyUI's own Load "
                    "VAE and checkpoint loaders give it.",
                ),
                a.CodesSocket.Input("codes", tooltip="From the sampler."),
                io.Int.Input("steps", default=10, min=1, max=200, tooltip="Of the solver. More is slower, and finer."),
                io.Combo.Input(
                    "solver",
                    options=["euler", "midpoint"],
                    advanced=True,
                    tooltip="Midpoint evaluates twice a step and needs fewer steps.",
                ),
                io.Float.Input(
                    "cfg",
                    default=1.0,
                    min=0.0,
                    max=20.0,
                    step=0.1,
                    advanced=True,
                    tooltip="Guidance, 1 is off. Only for decoders trained with it.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    advanced=True,
                    tooltip="Only for decoders trained with noise; the paper's own has none to draw.",
                ),
            ],
            outputs=_stems(),
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls, decoder: a.Managed, vae: a.Managed | VAE, codes: Codes, steps: int, solver: str, cfg: float, seed: int
    ) -> io.NodeOutput:
        """Solve and decode."""
        if vae is None or isinstance(vae, a.Managed):
            network, autoencoder = a.on_device(decoder=decoder, vae=vae)
        else:
            vae = autoencoder = ComfyVae(vae)
            (network,) = a.on_device(decoder=decoder)
        soundtrack = decode_flow_long(
            network,
            autoencoder,
            codes,
            num_steps=steps,
            solver=solver,
            cfg_scale=cfg,
            seed=seed,
            progress=a.comfy_progress(),
        )
        text = a.soundtrack_text(soundtrack) + decoder.warning
        facts = {"kind": "flow", "name": decoder.name, "fingerprint": decoder.fingerprint, "vae": vae.name}
        facts |= {"steps": steps, "solver": solver, "cfg": cfg, "seed": seed}
        return io.NodeOutput(*_told(soundtrack, codes, facts), ui=a.said(cls, text))


class CodecDecode(io.ComfyNode):
    """Codes to stems as a draft."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's face."""
        return io.Schema(
            node_id="DualDub_CodecDecode",
            display_name="Codec Decode, draft (DualDub)",
            category=CATEGORY,
            description="A fast draft: the codec's own decoder, mono at 24 kHz. Good enough to choose a "
            "take; use Flow-Matching Decode on the same codes for the final.",
            search_aliases=["draft decode", "preview decode", "wavtokenizer decode", "fast"],
            inputs=[
                a.Codec.Input("codec", tooltip="From Load DualDub or Load Codec."),
                a.CodesSocket.Input("codes", tooltip="From the sampler."),
            ],
            outputs=_stems(),
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, codec: a.Managed, codes: Codes) -> io.NodeOutput:
        """Decode."""
        (network,) = a.on_device(codec=codec)
        soundtrack = decode_codec_long(network, codes, progress=a.comfy_progress())
        text = a.soundtrack_text(soundtrack) + codec.warning
        facts = {"kind": "codec", "name": codec.name, "fingerprint": codec.fingerprint}
        return io.NodeOutput(*_told(soundtrack, codes, facts), ui=a.said(cls, text))


def _told(soundtrack: Soundtrack, codes: Codes, facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Both stems for their sockets, with what made them."""
    record = None if codes.made_by is None else codes.made_by.with_settings(decoder=facts)
    return [origin.tell(stem, record) for stem in a.from_soundtrack(soundtrack)]
