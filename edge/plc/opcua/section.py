"""The section ``[opcua]`` of ``edge.toml``; needs no OPC UA library."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator


class OpcuaSection(BaseModel):
    """Where the OPC UA bridge listens, and who may connect."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: Annotated[str, Field(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[
        int, Field(ge=1, le=65535, description="TCP port; 4840 is the registered one.")
    ] = 4840
    pki: Annotated[
        Path,
        Field(
            description="Folder of the certificates `own`, `trusted` and `rejected`; made at the "
            "first start."
        ),
    ] = Path("pki/opcua")
    user: Annotated[str | None, Field(description="Name that a client must give.")] = None
    password_file: Annotated[
        Path | None, Field(description="File whose first line is that user's password.")
    ] = None
    anonymous: Annotated[bool, Field(description="Let in clients that name no user.")] = False
    any_certificate: Annotated[
        bool, Field(description="Let in clients whose certificate is not in `trusted`.")
    ] = False
    plain: Annotated[
        bool,
        Field(description="Also offer an endpoint without signature, encryption and certificates."),
    ] = False
    station: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=64,
            description="First part of every node's identifier; default: the station's name.",
        ),
    ] = None

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
