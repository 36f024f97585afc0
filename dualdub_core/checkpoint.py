"""The one checkpoint format: safetensors, configuration in the header, strict.

A file holds one or more components, its tensors named `component.parameter`. The header's metadata has
`dualdub_format`, `config` (JSON, one object a component) and `info` (JSON: name, status, provenance).
"""

import json
import pickle
import zipfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from .config import from_dict, to_dict
from .errors import CheckpointError, ConfigError
from .files import replacing

FORMAT = "1"
TRAINED, UNTRAINED = "trained", "untrained"

_COMPONENTS = {
    "model": (".models.dualdub", "DualDubConfig", "DualDub"),
    "video_encoder": (".models.clip", "ClipConfig", "ClipVideoEncoder"),
    "codec": (".models.wavtokenizer", "WavTokenizerConfig", "WavTokenizer"),
    "decoder": (".models.dit", "FlowDecoderConfig", "FlowDecoder"),
    "vae": (".models.oobleck", "OobleckConfig", "Oobleck"),
}
COMPONENTS = tuple(_COMPONENTS)
"""The parts of a system."""

_JUDGES = {"casp": (".dualbench.casp", "CaspConfig", "Casp")}
_KNOWN = _COMPONENTS | _JUDGES


@dataclass(frozen=True, slots=True)
class Header:
    """What a checkpoint says of itself, readable without its tensors.

    Attributes:
        configs: component name -> its configuration dataclass.
        info: free values: `name`, `status` ("trained" or "untrained"), provenance.
        shapes: tensor name -> shape.
    """

    configs: dict[str, Any]
    info: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]

    @property
    def is_trained(self) -> bool:
        """Whether these weights were trained at all."""
        return self.info.get("status") == TRAINED


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A loaded file: its header and its modules by component name."""

    header: Header
    modules: dict[str, nn.Module] = field(default_factory=dict)


def save(path: Path | str, modules: Mapping[str, nn.Module], *, info: Mapping[str, Any]) -> None:
    """Write components and their configurations to one file, whole or not at all.

    Args:
        path: target `.safetensors` file.
        modules: component name -> module with a `config`.
        info: must have `name` and `status`.
    """
    if info.get("status") not in (TRAINED, UNTRAINED) or not info.get("name"):
        raise CheckpointError(f"{path}: info needs a name and a status, '{TRAINED}' or '{UNTRAINED}', got {dict(info)}")
    unknown = sorted(set(modules) - set(_KNOWN))
    if unknown:
        raise CheckpointError(f"{path}: unknown components {unknown}; known are {list(_KNOWN)}")
    tensors = {
        f"{component}.{name}": tensor.detach().to("cpu").contiguous()
        for component, module in modules.items()
        for name, tensor in module.state_dict().items()
    }
    metadata = {
        "dualdub_format": FORMAT,
        "config": json.dumps({component: to_dict(module.config) for component, module in modules.items()}),
        "info": json.dumps(dict(info)),
    }
    with replacing(Path(path)) as temporary:
        save_file(tensors, temporary, metadata=metadata)


def read_header(path: Path | str) -> Header:
    """Read only the header.

    Raises:
        CheckpointError: the file is missing, damaged or not of this format.
    """
    path = Path(path)
    with _opened(path) as file:
        metadata = file.metadata() or {}
        if metadata.get("dualdub_format") != FORMAT:
            raise CheckpointError(
                f"{path.name}: not a DualDub checkpoint of format {FORMAT} (header says "
                f"{metadata.get('dualdub_format')}); published weights go through their own loader"
            )
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    try:
        raw, info = json.loads(metadata["config"]), json.loads(metadata["info"])
        unknown = sorted(set(raw) - set(_KNOWN))
        if unknown:
            raise CheckpointError(f"{path.name}: unknown components {unknown}; known are {list(_KNOWN)}")
        configs = {name: from_dict(_classes(name)[0], values, name) for name, values in raw.items()}
    except (KeyError, json.JSONDecodeError, ConfigError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{path.name}: the header's configuration is not usable: {error}") from error
    return Header(configs=configs, info=info, shapes=shapes)


def load(
    path: Path | str,
    *,
    components: Collection[str] | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | Mapping[str, torch.dtype] | None = None,
) -> Checkpoint:
    """Load components; modules are built without memory and take the file's tensors one by one.

    Args:
        path: a file written by `save`.
        components: which to load; all that the file has when None.
        device: where the tensors go.
        dtype: of floating parameters, one for all or by component, as stored when None; buffers are float32.

    Raises:
        CheckpointError: anything about the file does not fit.
    """
    path = Path(path)
    header = read_header(path)
    wanted = tuple(header.configs) if components is None else tuple(components)
    absent = sorted(set(wanted) - set(header.configs))
    if absent:
        raise CheckpointError(f"{path.name}: has no {', '.join(absent)}; it holds {', '.join(header.configs)}")
    modules: dict[str, nn.Module] = {}
    with _opened(path, device=str(device)) as file:
        for component in wanted:
            to = dtype.get(component) if isinstance(dtype, Mapping) else dtype
            names = [name for name in header.shapes if name.split(".", 1)[0] == component]
            module = build(component, header.configs[component])
            # Buffers are statistics and codebooks: they stay as exact as the file has them.
            exact = {name for name, _ in module.named_buffers()}
            state = {}
            for name in names:
                own = name.split(".", 1)[1]
                state[own] = _cast(file.get_tensor(name), torch.float32 if own in exact else to)
            modules[component] = fill(module, state, f"{path.name} ({component})")
    return Checkpoint(header=header, modules=modules)


def build(component: str, config: Any) -> nn.Module:  # noqa: ANN401
    """An uninitialised module of a component on the meta device: shapes and counts, no memory."""
    with torch.device("meta"):
        module: nn.Module = _classes(component)[1](config)
    return module


def fill(module: nn.Module, state: Mapping[str, Tensor], what: str) -> nn.Module:
    """Give a module built on the meta device its tensors, in evaluation mode without gradients.

    Raises:
        CheckpointError: keys are missing or unexpected, or shapes differ.
    """
    expected = module.state_dict()
    missing, extra = sorted(set(expected) - set(state)), sorted(set(state) - set(expected))
    wrong = [
        f"{name} is {tuple(state[name].shape)}, expected {tuple(expected[name].shape)}"
        for name in sorted(set(expected) & set(state))
        if state[name].shape != expected[name].shape
    ]
    for label, names in (("missing", missing), ("unexpected", extra), ("wrong shapes:", wrong)):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise CheckpointError(
                f"{what}: {label} {', '.join(names[:3])}{more}; the file belongs to another model or is incomplete"
            )
    module.load_state_dict(state, strict=True, assign=True)
    return module.eval().requires_grad_(False)


def read_published(path: Path | str) -> dict[str, Tensor]:
    """The tensors of a published weights file: `.safetensors`, or a `.ckpt`/`.pt`/`.bin` without running its pickle.

    A container that holds them under `state_dict` (Lightning) or `model` is opened.

    Raises:
        CheckpointError: missing, truncated, or a pickle with anything but tensors in it.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        with _opened(path) as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    content = _unpickled(path)
    state = content
    for container in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(container), dict):
            state = content[container]
            break
    if not isinstance(state, dict) or not all(isinstance(n, str) and isinstance(t, Tensor) for n, t in state.items()):
        raise CheckpointError(f"{path.name}: expected tensors by name, got {type(state).__name__} of other things")
    return state


def read_published_values(path: Path | str, container: str) -> dict[str, Any]:
    """The plain values, such as sizes, that a published `.ckpt`/`.pt`/`.bin` holds beside its tensors.

    Args:
        path: the file.
        container: the key they lie under.

    Raises:
        CheckpointError: as `read_published`, or the file has no such values.
    """
    content = _unpickled(Path(path))
    values = content.get(container) if isinstance(content, dict) else None
    if not isinstance(values, dict):
        raise CheckpointError(f"{Path(path).name}: has no values under '{container}'; expected the file as published")
    return values


def read_metadata(path: Path | str) -> dict[str, str]:
    """The free part of a safetensors header.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    with _opened(Path(path)) as file:
        return dict(file.metadata() or {})


def _unpickled(path: Path) -> Any:  # noqa: ANN401
    """What a `.ckpt`/`.pt`/`.bin` holds, without running its pickle."""
    _require_file(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        reason = str(error).split("\n", maxsplit=1)[0][:160]
        raise CheckpointError(f"{path.name}: refused, it holds more than tensors or is damaged ({reason})") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError, IndexError, UnicodeError) as error:
        reason = str(error).split("\n", maxsplit=1)[0][:160]
        raise CheckpointError(f"{path.name}: damaged or truncated ({reason}); download it again") from error


@contextmanager
def _opened(path: Path, device: str = "cpu") -> Iterator[Any]:
    _require_file(path)
    try:
        with safe_open(path, framework="pt", device=device) as file:
            yield file
    except SafetensorError as error:
        raise CheckpointError(f"{path.name}: damaged, truncated or not safetensors ({error}); get it again") from error


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")


def _classes(component: str) -> tuple[type[Any], type[Any]]:
    module, config, model = _KNOWN[component]
    package = import_module(module, __package__)
    return getattr(package, config), getattr(package, model)


def _cast(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    return tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor
