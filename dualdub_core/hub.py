"""The published weights DualDub can use, where they live, and the one function that fetches them.

Nothing in the package calls it: the command `dualdub download` and the loader nodes do, when asked to.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from .errors import CheckpointError
from .files import replacing


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """One published file.

    Attributes:
        repository: on the Hugging Face hub.
        filename: inside it.
        save_as: the name we keep it under.
        what: one line for people.
        licence: as its publishers state it.
        sha256: of the file where we know it.
        revision: a commit, where we know the file at one.
    """

    repository: str
    filename: str
    save_as: str
    what: str
    licence: str
    sha256: str | None = None
    revision: str = "main"

    @property
    def url(self) -> str:
        """For people who download by hand."""
        return f"https://huggingface.co/{self.repository}/resolve/{self.revision}/{self.filename}"


PUBLISHED = {
    "clip": Published(
        repository="timm/vit_base_patch32_clip_224.openai",
        filename="open_clip_model.safetensors",
        save_as="clip_vit_b_32_openai.safetensors",
        what="CLIP ViT-B/32, OpenAI's weights (605 MB)",
        licence="apache-2.0",
        sha256="e6d1bd7789aa45192b3bf90570a789b478bae1b74ebcce7eddd908e83a2b7c31",
        revision="a6f597a30f7b82c51704746581f9a4e41421e878",
    ),
    "wavtokenizer": Published(
        repository="novateur/WavTokenizer-large-unify-40token",
        filename="wavtokenizer_large_unify_600_24k.ckpt",
        save_as="wavtokenizer_large_unify_600_24k.ckpt",
        what="WavTokenizer, 40 tokens a second (1.76 GB)",
        licence="mit",
    ),
    "vae": Published(
        repository="stabilityai/stable-audio-open-1.0",
        filename="vae/diffusion_pytorch_model.safetensors",
        save_as="stable_audio_open_vae.safetensors",
        what="the VAE of Stable Audio Open 1.0 (624 MB; accept its conditions on the hub first)",
        licence="Stability AI Community License",
    ),
}


def download(name: str, folder: Path | str) -> Path:
    """Fetch one of `PUBLISHED` into a folder; a file that is already there is left alone.

    Whoever calls this has asked for a download. `HF_HUB_OFFLINE` and `HF_TOKEN` are honoured.

    Raises:
        CheckpointError: unknown name, no access, or the content is not what was published.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    if name not in PUBLISHED:
        raise CheckpointError(f"download: unknown name '{name}'; known are {', '.join(PUBLISHED)}")
    entry, folder = PUBLISHED[name], Path(folder)
    target = folder / entry.save_as
    if target.is_file():
        return target
    try:
        got = hf_hub_download(entry.repository, entry.filename, revision=entry.revision, local_dir=folder / ".download")
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).split("\n", maxsplit=1)[0]
        raise CheckpointError(
            f"download of '{name}' failed ({reason}); fetch {entry.url} by hand and save it as {target}"
        ) from error
    if entry.sha256 is not None and _sha256(Path(got)) != entry.sha256:
        Path(got).unlink()
        raise CheckpointError(f"download of '{name}': the content is not what was published at {entry.url}; try again")
    with replacing(target) as temporary:
        Path(got).replace(temporary)
    return target


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
