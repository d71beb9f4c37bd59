"""The section ``[opcua]`` of ``edge.toml``; needs no OPC UA library."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from edge.fields import Host, OptionsModel, setting


class OpcuaSection(OptionsModel):
    """Where the OPC UA bridge listens, and who may connect."""

    host: Host = setting("127.0.0.1", "Address to listen on.")
    port: Annotated[int, Field(ge=1, le=65535)] = setting(
        4840, "TCP port; 4840 is the registered one."
    )
    pki: Path = setting(
        Path("pki/opcua"),
        "Folder of the certificates `own`, `trusted` and `rejected`; made at the first start.",
    )
    user: str | None = setting(None, "Name that a client must give.", example="line3")
    password_file: Path | None = setting(
        None, "File whose first line is that user's password.", example="opcua.password"
    )
    anonymous: bool = setting(False, "Let in clients that name no user.")
    any_certificate: bool = setting(False, "Let in clients whose certificate is not in `trusted`.")
    plain: bool = setting(
        False, "Also offer an endpoint without signature, encryption and certificates."
    )
    station: Annotated[str | None, Field(min_length=1, max_length=64)] = setting(
        None, "First part of every node's identifier.", unset="the station's name", example="press7"
    )

    @model_validator(mode="after")
    def _check_that_somebody_may_connect(self) -> OpcuaSection:
        if (self.user is None) != (self.password_file is None):
            raise ValueError("user and password_file belong together; give both")
        if self.user is None and not self.anonymous:
            raise ValueError(
                "nobody may connect; give user and password_file, "
                "or anonymous = true to let in clients that name no user"
            )
        return self

    @property
    def url(self) -> str:
        """The endpoint that clients connect to; an IPv6 address comes in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"opc.tcp://{host}:{self.port}"
