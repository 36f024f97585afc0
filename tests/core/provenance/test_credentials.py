from datetime import datetime, timedelta, timezone
from fractions import Fraction

import pytest
import torch

from dualdub_core.errors import ConfigError, InputError
from dualdub_core.media.muxing import mux
from dualdub_core.media.sound import read_audio, write_wav
from dualdub_core.provenance.credentials import SYNTHETIC, Signing, check_signing, has_c2pa, read_credentials, sign
from dualdub_core.provenance.provenance import Provenance, VoiceNote
from dualdub_core.provenance.stamps import read_provenance, video_tags
from dualdub_core.types import Audio

needs_c2pa = pytest.mark.skipif(not has_c2pa(), reason="c2pa-python is not installed")
SOUND = Audio(torch.sin(torch.arange(24_001) / 20)[None, None] * 0.1, 24_000)
RECORD = Provenance(model="mini", seeds={"speech": 3}, voices=(VoiceNote(name="Anna", consent="Anna Ö., 2026-11-21"),))


@pytest.fixture(scope="session")
def signing(tmp_path_factory) -> Signing:
    """A certificate of our own making: nobody trusts it, everything else about it is right."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder, now = tmp_path_factory.mktemp("keys"), datetime.now(timezone.utc)
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())

    def certificate(name, subject_key, issuer, issuer_key, *, is_root):
        usage = dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only",
             "decipher_only"), False,
        )  # fmt: skip
        parts = [(x509.NameOID.COMMON_NAME, name), (x509.NameOID.ORGANIZATION_NAME, "A studio")]
        subject = x509.Name([x509.NameAttribute(*part) for part in parts])
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer or subject)
            .public_key(subject_key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=is_root, path_length=None), critical=True)
            .add_extension(
                x509.KeyUsage(digital_signature=not is_root, key_cert_sign=is_root, crl_sign=is_root, **usage), True
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(subject_key.public_key()), False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False)
        )
        if not is_root:
            purpose = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.EMAIL_PROTECTION])
            builder = builder.add_extension(purpose, False)
        return builder.sign(issuer_key, hashes.SHA256())

    root = certificate("Test root", root_key, None, root_key, is_root=True)
    leaf = certificate("Test signer", key, root.subject, root_key, is_root=False)
    pem = serialization.Encoding.PEM
    (folder / "chain.pem").write_bytes(leaf.public_bytes(pem) + root.public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(private)
    return Signing(certificate=folder / "chain.pem", key=folder / "key.pem", author="A. Artist")


@needs_c2pa
def test_a_signed_sound_says_that_it_is_synthetic_and_is_the_same_sound(tmp_path, signing):
    path = tmp_path / "speech.wav"
    write_wav(path, SOUND, made_by=RECORD)
    before = read_audio(path).waveform
    sign(path, signing, RECORD)
    said = read_credentials(path)
    assert said["state"] == "Valid"  # of a signer that nobody trusts
    assert (said["signed_by"], said["synthetic"]) == ("Test signer", True)
    assert said["made_by"]["voices"] == [{"name": "Anna", "consent": "Anna Ö., 2026-11-21"}]
    assert torch.equal(read_audio(path).waveform, before)
    assert read_provenance(path) == RECORD
    assert [p.name for p in tmp_path.iterdir()] == ["speech.wav"]


@needs_c2pa
def test_a_changed_sound_is_no_longer_what_was_signed(tmp_path, signing):
    path = tmp_path / "speech.wav"
    write_wav(path, SOUND)
    sign(path, signing, RECORD)
    content = bytearray(path.read_bytes())
    content[2000] ^= 1
    path.write_bytes(content)
    assert read_credentials(path)["state"] == "Invalid"


@needs_c2pa
def test_a_video_is_signed_too(tmp_path, signing, make_video):
    path = tmp_path / "dubbed.mp4"
    mux(make_video(rate=Fraction(25)), SOUND, path, metadata=video_tags(RECORD, ".mp4"))
    sign(path, signing, RECORD)
    assert read_credentials(path)["synthetic"]
    assert read_provenance(path) == RECORD


def test_a_file_without_credentials_has_none(tmp_path):
    write_wav(tmp_path / "a.wav", SOUND)
    assert read_credentials(tmp_path / "a.wav") is None
    assert read_credentials(tmp_path / "a.mkv") is None


@needs_c2pa
@pytest.mark.parametrize(
    ("change", "suffix", "message"),
    [
        ("none", ".mkv", "a .mkv file cannot hold them"),
        ("no key", ".wav", "none.pem: no such file"),
        ("words", ".wav", "words.pem: not a private key"),
        ("swapped", ".wav", "not a private key"),
    ],
)
def test_what_cannot_sign_is_refused_before_any_work(tmp_path, signing, change, suffix, message):
    (tmp_path / "words.pem").write_text("words")
    key = {"no key": tmp_path / "none.pem", "words": tmp_path / "words.pem", "swapped": signing.certificate}
    with pytest.raises(InputError, match=message):
        check_signing(Signing(certificate=signing.certificate, key=key.get(change, signing.key)), suffix)


@pytest.mark.skipif(has_c2pa(), reason="c2pa-python is installed")
def test_without_the_package_signing_says_what_to_install(tmp_path):
    with pytest.raises(ConfigError, match="pip install"):
        check_signing(Signing(certificate=tmp_path / "a", key=tmp_path / "b"))


def test_the_mark_is_iptcs_own():
    assert SYNTHETIC.endswith("/digitalsourcetype/trainedAlgorithmicMedia")
