"""The options of `edge studio`, `[studio]`."""

from __future__ import annotations

from pathlib import Path

from edge.fields import Names, OptionsModel, option, setting


class StudioOptions(OptionsModel):
    """What the page for building and running a line listens at and may touch: `edge studio`."""

    listen: str = option("127.0.0.1:9470", "Address, HOST:PORT, that the page is at.")
    token_file: Path | None = option(
        None,
        "File of lines NAME TOKEN: who may use the page; asked for where others reach it.",
        unset="everybody on this machine may",
        example="studio.tokens",
    )
    tls_cert: Path | None = option(
        None, "Certificate that the page shows, PEM.", example="studio.crt"
    )
    tls_key: Path | None = option(None, "Key of the certificate, PEM.", example="studio.key")
    behind_tls: bool = option(False, "A proxy in front speaks TLS with whoever asks.")
    hosts: Names = setting(
        (),
        "Names by which others reach the page, besides its IP address.",
        example=("line3.plant.example",),
    )
    sets: Path = setting(Path("sets"), "Folder of the sets of pictures, a folder each.")
    bundles: Path = setting(Path("build"), "Folder of the bundles.")
    audit: Path = setting(
        Path("studio.audit.jsonl"), "File of JSON lines: who changed what, and who was refused."
    )
