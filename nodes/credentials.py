"""The switch for signed Content Credentials: who signs, for the nodes that save."""

from comfy_api.latest import io

from ..dualdub_core.provenance.credentials import check_signing
from . import adapters as a
from . import origin

NONE = "none"


class ContentCredentials(io.ComfyNode):
    """A certificate of the artist's to a signature on every saved file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's face."""
        return io.Schema(
            node_id="DualDub_ContentCredentials",
            display_name="Content Credentials (DualDub)",
            category="audio/dualdub",
            description="Signs saved files as made by a model (C2PA, the mark trainedAlgorithmicMedia), with your own "
            "certificate. Connect it to Save Stems, Soundtrack to Video or Hand-off. Needs the package c2pa-python.",
            search_aliases=["c2pa", "provenance", "watermark", "sign", "ai label", "synthetic", "certificate"],
            inputs=[
                io.Combo.Input(
                    "certificate",
                    options=[NONE, *origin.certificate_names()],
                    tooltip="A pair NAME.pem (certificate chain) and NAME.key (private key) in "
                    "models/dualdub/credentials. None: files are not signed.",
                ),
                io.String.Input(
                    "author", default="", tooltip="Who made it, as the statement names them; may be empty."
                ),
            ],
            outputs=[origin.CredentialsSocket.Output("credentials", tooltip="For the nodes that save.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, certificate: str | None) -> bool:  # noqa: ARG003
        """Certificates put there since the list was made count too; execute says what is wrong."""
        return True

    @classmethod
    def execute(cls, certificate: str, author: str) -> io.NodeOutput:
        """Check certificate and key."""
        if certificate == NONE:
            return io.NodeOutput(None, ui=a.said(cls, "files are not signed"))
        signing = origin.signing_of(certificate, author)
        check_signing(signing)
        return io.NodeOutput(signing, ui=a.said(cls, f"files are signed with {certificate}"))
