"""The one checkpoint format: safetensors, configuration in the header, strict.

A file holds one or more components, its tensors named `component.parameter`. The header's metadata has
`dualdub_format`, `config` (JSON, one object a component) and `info` (JSON: name, status, provenance).
"""

import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from .config import from_dict, to_dict
from .errors import CheckpointError, ConfigError, shortened, some_of
from .files import problem_of, replacing
from .tensor_files import save_tensors
from .unpickling import holds_what_it_claims, unpickled

FORMAT = "1"
TRAINED, UNTRAINED = "trained", "untrained"
_AT_ONCE = 1 << 28
"""Bytes read of a file before it is opened anew: what was read of it counts as memory while it is open."""

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

    def num_weights(self, component: str) -> int:
        """Numbers in a component's tensors; 0 where the file has no such component."""
        own = f"{component}."
        return sum(math.prod(shape) for name, shape in self.shapes.items() if name.startswith(own))


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
        save_tensors(temporary, tensors, metadata)


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
    raw, info = (_object(metadata, key, path.name) for key in ("config", "info"))
    unknown = sorted(set(raw) - set(_KNOWN))
    if unknown:
        told = shortened(", ".join(unknown), 80)
        raise CheckpointError(f"{path.name}: unknown components {told}; known are {', '.join(_KNOWN)}")
    stray = sorted(name for name in shapes if name.partition(".")[0] not in raw or "." not in name)
    if stray:
        raise CheckpointError(f"{path.name}: unexpected {some_of(stray)}; the file belongs to another model")
    try:
        configs = {name: from_dict(_classes(name)[0], values, name) for name, values in raw.items()}
    except (ConfigError, ZeroDivisionError) as error:
        told = "a size that must be positive is 0" if isinstance(error, ZeroDivisionError) else shortened(error, 300)
        raise CheckpointError(f"{path.name}: the header's configuration is not usable: {told}; get it again") from error
    return Header(configs=configs, info=info, shapes=shapes)


def load(
    path: Path | str,
    *,
    components: Collection[str] | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | Mapping[str, torch.dtype] | None = None,
) -> Checkpoint:
    """Load components; modules are built without memory and take the file's tensors one by one.

    On a CPU a tensor that keeps its type is the file itself, mapped: the system drops its pages when memory is short
    and reads them again, and two processes share them. What changes its type or device is a copy.

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
    for component in wanted:
        to = dtype.get(component) if isinstance(dtype, Mapping) else dtype
        names = [name for name in header.shapes if name.split(".", 1)[0] == component]
        what = f"{path.name} ({component})"
        module = _built(component, header.configs[component], len(names), what)
        # Buffers are statistics and codebooks: they stay as exact as the file has them.
        exact = {name for name, _ in module.named_buffers()}
        state = {}
        for name, stored in _tensors(path, names, device):
            own = name.split(".", 1)[1]
            if not is_sound(stored):
                raise CheckpointError(f"{what}: NaN or infinite weights in {shortened(own, 80)}; get the file again")
            state[own] = _cast(stored, torch.float32 if own in exact else to)
        modules[component] = fill(module, state, what)
    return Checkpoint(header=header, modules=modules)


def build(component: str, config: Any) -> nn.Module:  # noqa: ANN401
    """An uninitialised module of a component on the meta device: shapes and counts, no memory."""
    with torch.device("meta"):
        module: nn.Module = _classes(component)[1](config)
    return module


def fill(module: nn.Module, state: Mapping[str, Tensor], what: str) -> nn.Module:
    """Give a module built on the meta device its tensors, in evaluation mode without gradients.

    Raises:
        CheckpointError: keys are missing or unexpected, shapes differ, or whole numbers stand for fractions.
    """
    expected = module.state_dict()
    missing, extra = sorted(set(expected) - set(state)), sorted(set(state) - set(expected))
    wrong = [
        f"{name} is {tuple(state[name].shape)}, expected {tuple(expected[name].shape)}"
        for name in sorted(set(expected) & set(state))
        if state[name].shape != expected[name].shape
    ]
    types = [
        f"{name} is {state[name].dtype}, expected {expected[name].dtype}"
        for name in sorted(set(expected) & set(state))
        if state[name].is_floating_point() != expected[name].is_floating_point()
    ]
    found = (("missing", missing), ("unexpected", extra), ("wrong shapes:", wrong), ("wrong types:", types))
    for label, names in found:
        if names:
            raise CheckpointError(
                f"{what}: {label} {some_of(names)}; the file belongs to another model or is incomplete"
            )
    module.load_state_dict(state, strict=True, assign=True)
    return module.eval().requires_grad_(False)


def is_sound(tensor: Tensor) -> bool:
    """Whether there is neither NaN nor infinity in it; read once, and nothing of its size is allocated."""
    if not tensor.is_floating_point() or tensor.numel() == 0 or tensor.element_size() == 1:
        return True  # the smallest types are not reduced on every device
    # A sum reads at memory's speed and no NaN or infinity goes under in it; one of finite numbers may still overflow.
    if torch.isfinite(tensor.sum()):
        return True
    low, high = tensor.aminmax()
    return bool(torch.isfinite(low) & torch.isfinite(high))


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
    content = unpickled(path)
    state = content
    for container in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(container), dict):
            state = content[container]
            break
    if not isinstance(state, dict) or not all(isinstance(n, str) and isinstance(t, Tensor) for n, t in state.items()):
        raise CheckpointError(
            f"{path.name}: got {type(state).__name__} of other things, expected tensors by name; get the weights alone"
        )
    claims = sorted(name for name, tensor in state.items() if not holds_what_it_claims(tensor))
    if claims:
        raise CheckpointError(f"{path.name}: refused, {some_of(claims)} claims more numbers than the file holds")
    return state


def read_published_values(path: Path | str, container: str) -> dict[str, Any]:
    """The plain values, such as sizes, that a published `.ckpt`/`.pt`/`.bin` holds beside its tensors.

    Args:
        path: the file.
        container: the key they lie under.

    Raises:
        CheckpointError: as `read_published`, or the file has no such values.
    """
    content = unpickled(Path(path))
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


@contextmanager
def _opened(path: Path, device: str = "cpu") -> Iterator[Any]:
    _require_file(path)
    try:
        with safe_open(path, framework="pt", device=device) as file:
            yield file
    except SafetensorError as error:
        told = shortened(error)
        raise CheckpointError(f"{path.name}: damaged, truncated or not safetensors ({told}); get it again") from error


def _tensors(path: Path, names: Iterable[str], device: torch.device | str) -> Iterator[tuple[str, Tensor]]:
    """Tensors of a file in turn."""
    left = iter(names)
    name = next(left, None)
    while name is not None:
        taken = 0
        with _opened(path, device=str(device)) as file:
            while name is not None and taken < _AT_ONCE:
                tensor = file.get_tensor(name)
                taken += tensor.nbytes
                yield name, tensor
                del tensor
                name = next(left, None)


def _require_file(path: Path) -> None:
    if problem := problem_of(path):
        raise CheckpointError(f"{path}: {problem}")


def _object(metadata: Mapping[str, str], key: str, what: str) -> dict[str, Any]:
    """One of the JSON objects in a header."""
    try:
        values = json.loads(metadata.get(key, ""))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{what}: the header's {key} is no JSON ({shortened(error, 80)}); get it again"
        ) from error
    if not isinstance(values, dict):
        raise CheckpointError(
            f"{what}: the header's {key} is {type(values).__name__}, expected an object; get it again"
        )
    return values


def _built(component: str, config: Any, num_tensors: int, what: str) -> nn.Module:  # noqa: ANN401
    """The module of a component in a file, whose sizes are the file's word and may be anything."""
    # Building takes time with every layer, and each has tensors.
    if any(count > num_tensors for count in _layers(to_dict(config))):
        raise CheckpointError(f"{what}: its configuration has more layers than the file has tensors; get it again")
    try:
        return build(component, config)
    except (RuntimeError, TypeError, ValueError, OverflowError) as error:
        raise CheckpointError(f"{what}: no model has the sizes of its configuration; get it again") from error


def _layers(config: Mapping[str, Any]) -> Iterator[int]:
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _layers(value)
        elif name.endswith("layers"):
            yield value
        elif isinstance(value, tuple):
            yield len(value)


def _classes(component: str) -> tuple[type[Any], type[Any]]:
    module, config, model = _KNOWN[component]
    package = import_module(module, __package__)
    return getattr(package, config), getattr(package, model)


def _cast(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    return tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor
