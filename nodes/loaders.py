"""Nodes that load weights: a whole DualDub checkpoint, or one part of it from elsewhere."""

from comfy_api.latest import io

from ..dualdub_core.engine.precision import PRECISIONS
from ..dualdub_core.published.clip import load_clip
from ..dualdub_core.published.oobleck import load_oobleck
from ..dualdub_core.published.wavtokenizer import load_wavtokenizer
from . import adapters as a
from . import folders

CATEGORY = "audio/dualdub/loaders"
PUBLISHED = (".safetensors", ".ckpt", ".pt", ".bin")
DOWNLOAD = "Fetch the published file into models/dualdub if it is chosen and missing. Off: nothing is ever fetched."


def _download() -> io.Boolean.Input:
    return io.Boolean.Input("download", default=False, tooltip=DOWNLOAD)


class LoadDualDub(io.ComfyNode):
    """A checkpoint to its parts."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's face."""
        return io.Schema(
            node_id="DualDub_LoadDualDub",
            display_name="Load DualDub",
            category=CATEGORY,
            description="Loads a DualDub checkpoint: language model, video encoder, codec, flow decoder "
            "and VAE. The built-in mini model needs no file; others go into models/dualdub.",
            search_aliases=[
                "dualdub",
                "dualdub model",
                "checkpoint",
                "video to audio",
                "foley model",
                "dubbing model",
            ],
            inputs=[
                io.Combo.Input(
                    "checkpoint",
                    options=folders.weights_names(),
                    tooltip="The built-in mini model, or a .safetensors file of models/dualdub.",
                ),
                io.Combo.Input(
                    "precision",
                    options=list(PRECISIONS),
                    advanced=True,
                    tooltip="Of the language model and the flow decoder. Auto: bf16 on a GPU that has it; on a CPU "
                    "fp32 for small models, int8 for large ones. int8 is for CPUs. The other parts stay in fp32.",
                ),
            ],
            outputs=[
                a.Model.Output("model", tooltip="Writes the codes of both streams."),
                a.VideoEncoder.Output("video_encoder", tooltip="Looks at the pictures."),
                a.Codec.Output("codec", tooltip="Recordings to codes and back; decodes drafts."),
                a.Decoder.Output("decoder", tooltip="Codes to the VAE's latents, by flow matching."),
                a.AudioVae.Output("vae", tooltip="Latents to sound."),
                io.String.Output("info", tooltip="What the file holds and whether it was trained."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def fingerprint_inputs(cls, checkpoint: str, precision: str) -> str:  # noqa: ARG003
        """Runs again when the file changes."""
        return folders.fingerprint(folders.weights_path(checkpoint))

    @classmethod
    def execute(cls, checkpoint: str, precision: str) -> io.NodeOutput:
        """Load every part the file has."""
        parts, text = a.load_checkpoint(folders.weights_path(checkpoint), precision)
        return io.NodeOutput(*parts, text, ui=a.said(cls, text))


class LoadCodec(io.ComfyNode):
    """A WavTokenizer."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's face."""
        return io.Schema(
            node_id="DualDub_LoadCodec",
            display_name="Load Codec (DualDub)",
            category=CATEGORY,
            description="Loads a WavTokenizer: the published .ckpt, a converted .safetensors, or the codec "
            "of a DualDub checkpoint. Files go into models/dualdub.",
            search_aliases=["wavtokenizer", "audio tokenizer", "neural codec"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=folders.weights_names(PUBLISHED, known="wavtokenizer"),
                    tooltip="The codec must be the one that the model's codes belong to.",
                ),
                _download(),
            ],
            outputs=[a.Codec.Output("codec", tooltip="For Lock Stream and Codec Decode.")],
        )

    @classmethod
    def execute(cls, file: str, download: bool) -> io.NodeOutput:
        """Load one part."""
        path = folders.weights_path(file, known="wavtokenizer", download=download)
        return io.NodeOutput(a.load_part("codec", path, load_wavtokenizer))


class LoadFlowDecoder(io.ComfyNode):
    """A flow-matching decoder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's face."""
        return io.Schema(
            node_id="DualDub_LoadFlowDecoder",
            display_name="Load Flow Decoder (DualDub)",
            category=CATEGORY,
            description="Loads the flow-matching decoder of a DualDub checkpoint, to use with another one's model.",
            search_aliases=["flow matching", "dit", "acoustic decoder"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=folders.weights_names(),
                    tooltip="A DualDub checkpoint of models/dualdub that holds a decoder.",
                )
            ],
            outputs=[a.Decoder.Output("decoder", tooltip="For Flow-Matching Decode.")],
        )

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        """Load one part."""
        return io.NodeOutput(a.load_part("decoder", folders.weights_path(file)))


class LoadAudioVAE(io.ComfyNode):
    """An Oobleck VAE."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's face."""
        return io.Schema(
            node_id="DualDub_LoadAudioVAE",
            display_name="Load Audio VAE (DualDub)",
            category=CATEGORY,
            description="Loads an Oobleck VAE: Stable Audio's as published, or that of a DualDub "
            "checkpoint. Files of models/dualdub and models/vae are listed.",
            search_aliases=["stable audio vae", "oobleck", "audio autoencoder"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=folders.weights_names(PUBLISHED, also="vae", known="vae"),
                    tooltip="The VAE must be the one that the flow decoder was trained for.",
                ),
                _download(),
            ],
            outputs=[a.AudioVae.Output("vae", tooltip="For Flow-Matching Decode.")],
        )

    @classmethod
    def execute(cls, file: str, download: bool) -> io.NodeOutput:
        """Load one part."""
        path = folders.weights_path(file, also="vae", known="vae", download=download)
        return io.NodeOutput(a.load_part("vae", path, load_oobleck))


class LoadCLIP(io.ComfyNode):
    """A CLIP picture tower."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's face."""
        return io.Schema(
            node_id="DualDub_LoadCLIP",
            display_name="Load CLIP (DualDub)",
            category=CATEGORY,
            description="Loads the video encoder: CLIP ViT-B/32 as OpenAI, open_clip or Hugging Face name "
            "its weights, or that of a DualDub checkpoint. Files of models/dualdub and models/clip_vision "
            "are listed.",
            search_aliases=["clip vision", "vit-b/32", "video encoder", "openai clip"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=folders.weights_names(PUBLISHED, also="clip_vision", known="clip"),
                    tooltip="The encoder must be the one that the model was trained with.",
                ),
                _download(),
            ],
            outputs=[a.VideoEncoder.Output("video_encoder", tooltip="For Encode Video.")],
        )

    @classmethod
    def execute(cls, file: str, download: bool) -> io.NodeOutput:
        """Load one part."""
        path = folders.weights_path(file, also="clip_vision", known="clip", download=download)
        return io.NodeOutput(a.load_part("video_encoder", path, load_clip))
