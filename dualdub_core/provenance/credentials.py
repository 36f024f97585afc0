"""Content Credentials: a signed statement inside a file that says its sound was made by a model, and by whose word.

Source: C2PA specification 2.1 (https://c2pa.org/specifications), through the optional package c2pa-python. Certificate
and key are the user's own; nothing is sent anywhere, so the signature has no time stamp of an authority.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import ConfigError, InputError
from ..files import replacing
from .provenance import SOFTWARE, Provenance

SIGNABLE = (".wav", ".mp4", ".m4v", ".mov", ".avi")
"""Kinds of file that can hold Content Credentials."""

SYNTHETIC = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""IPTC's name for what a trained model made."""

RECORD = "com.github.dualdub.provenance"
"""The assertion that holds our own record."""

_CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Signing:
    """Who signs.

    Attributes:
        certificate: PEM file, the signer's first, then those that vouch for it.
        key: PEM file of the signer's private key, not encrypted.
        author: name that the statement gives; the certificate says who really signs.
    """

    certificate: Path
    key: Path
    author: str = ""


def has_c2pa() -> bool:
    """Whether the package is installed."""
    return find_spec("c2pa") is not None


def check_signing(signing: Signing, *suffixes: str) -> None:
    """Refuse before any work what could not be signed after it.

    Args:
        signing: who signs.
        suffixes: of the files that will be.

    Raises:
        ConfigError: the package is not installed.
        InputError: the certificate or the key cannot be used, or such files cannot hold credentials.
    """
    for suffix in suffixes:
        if suffix.lower() not in SIGNABLE:
            raise InputError(
                f"content credentials: a {suffix} file cannot hold them, expected {', '.join(SIGNABLE)}; choose "
                "another kind of file or do not sign"
            )
    _signer(signing).close()


def sign(path: Path | str, signing: Signing, made_by: Provenance) -> None:
    """Put Content Credentials into a file, which is replaced whole or not at all.

    Args:
        path: a file of one of `SIGNABLE`.
        signing: who signs.
        made_by: becomes part of the statement, without graph and script.

    Raises:
        ConfigError: the package is not installed.
        InputError: certificate, key or file cannot be used.
    """
    path = Path(path)
    check_signing(signing, path.suffix)
    c2pa: Any = import_module("c2pa")
    statement = _statement(path, signing, made_by)
    try:
        with replacing(path) as temporary, _signer(signing) as signer, c2pa.Builder(statement) as builder:
            temporary.unlink()  # the library writes only where nothing lies
            builder.sign_file(str(path), str(temporary), signer)
    except c2pa.C2paError as error:
        raise InputError(f"{path.name}: cannot be signed ({_reason(error)})") from error


def read_credentials(path: Path | str) -> dict[str, Any] | None:
    """What a file's Content Credentials say; None where it has none, or where the package is not installed.

    Returns:
        `state` (the package's verdict: "Trusted", "Valid" or "Invalid"), `signed_by`, `synthetic` and `made_by`.
    """
    path = Path(path)
    if not has_c2pa() or path.suffix.lower() not in SIGNABLE:
        return None
    c2pa: Any = import_module("c2pa")
    try:
        reader = c2pa.Reader.try_create(str(path))
        if reader is None:
            return None
        with reader:
            manifest, state = reader.get_active_manifest() or {}, reader.get_validation_state()
    except c2pa.C2paError as error:
        return {"state": "Invalid", "reason": _reason(error)}
    found = {assertion["label"]: assertion.get("data", {}) for assertion in manifest.get("assertions", ())}
    actions: Mapping[str, Any] = next((data for label, data in found.items() if label.startswith("c2pa.actions")), {})
    return {
        "state": state,
        "signed_by": manifest.get("signature_info", {}).get("common_name"),
        "synthetic": any(action.get("digitalSourceType") == SYNTHETIC for action in actions.get("actions", ())),
        "made_by": found.get(RECORD),
    }


def _statement(path: Path, signing: Signing, made_by: Provenance) -> Mapping[str, Any]:
    action = {
        "action": "c2pa.created",
        "digitalSourceType": SYNTHETIC,
        "softwareAgent": {"name": SOFTWARE, "version": made_by.version},
        "description": "Speech and background sound written by a model. Pictures, if any, come from the source.",
    }
    assertions = [
        {"label": "c2pa.actions.v2", "data": {"actions": [action]}},
        {"label": RECORD, "data": json.loads(made_by.to_json(graph=False))},
    ]
    if signing.author:
        author = {"@type": "Person", "name": signing.author}
        work = {"@context": "https://schema.org", "@type": "CreativeWork", "author": [author]}
        assertions.append({"label": "stds.schema-org.CreativeWork", "data": work})
    return {
        "claim_generator_info": [{"name": SOFTWARE, "version": made_by.version}],
        "title": path.name,
        "assertions": assertions,
    }


def _signer(signing: Signing) -> Any:  # noqa: ANN401
    if not has_c2pa():
        raise ConfigError(
            'content credentials: need c2pa-python, which is not installed; pip install "dualdub[credentials]"'
        )
    c2pa: Any = import_module("c2pa")
    for path in (signing.certificate, signing.key):
        if not path.is_file():
            raise InputError(f"content credentials: {path.name}: no such file, expected a PEM file")
    certificate, key = signing.certificate.read_bytes(), signing.key.read_bytes()
    try:
        info = c2pa.C2paSignerInfo(_algorithm(key, signing.key.name).encode(), certificate, key, None)
        return c2pa.Signer.from_info(info)
    except c2pa.C2paError as error:
        raise InputError(
            f"content credentials: {signing.certificate.name} and {signing.key.name} cannot sign ({_reason(error)}); "
            "expected a certificate chain for signing documents and its key, both PEM"
        ) from error


def _algorithm(pem: bytes, name: str) -> str:
    """What a private key signs with, in C2PA's words."""
    serialization: Any = import_module("cryptography.hazmat.primitives.serialization")
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise InputError(f"content credentials: {name}: not a private key in PEM without a password") from error
    kind = type(key).__name__
    if "Ed25519" in kind:
        return "ed25519"
    if "RSA" in kind:
        return "ps256"
    curve = getattr(getattr(key, "curve", None), "name", "")
    if curve not in _CURVES:
        raise InputError(f"content credentials: {name}: got a {kind or 'key'}, expected Ed25519, RSA or a P- curve")
    return _CURVES[curve]


def _reason(error: Exception) -> str:
    return str(error).split("\n", maxsplit=1)[0][:200]
