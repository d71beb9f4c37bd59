"""Nothing in the product is there for tests alone."""

from __future__ import annotations

from packages import PACKAGES, ROOT
from vulture import Vulture

KINDS = {"class", "function", "method", "property"}
CALLED_BY_OTHERS = {  # by name, from a library, a template or an attribute that is looked up
    "__getattr__",
    "__dir__",
    *("inspect_batch", "_repr_png_"),  # programs and notebooks
    "parse_request",  # of the standard library's HTTP handler
    # commands, looked up by edge.cli.commands
    *("backbone_export", "compile_plans", "doctor", "print_map", "set_bundle"),
    *("list_parts", "list_shadowed", "report_hours", "try_threshold", "mark_parts", "teach"),
    # bridges, looked up by edge.plc.bridges
    *("ModbusBridge", "MqttBridge", "OpcuaBridge"),
    # calibration data, as ONNX Runtime reads it
    *("get_next", "set_range"),
    # http.server, socketserver, asyncio, asyncua
    *(
        "do_POST",
        "log_message",
        "process_request",
        "verify_request",
        "service_actions",
        "handle_error",
    ),
    *("connection_made", "connection_lost", "data_received", "pause_writing", "resume_writing"),
    "get_user",
    # TensorRT's progress monitor
    *("phase_start", "step_complete", "phase_finish"),
    # CUDA's functions, which engines call by name
    *("cuda[A-Z]*", "cu[A-Z]*"),
    # templates
    *("is_numeric", "is_wide", "data_uri"),
}


def test_nothing_is_dead() -> None:
    vulture = Vulture(ignore_names=sorted(CALLED_BY_OTHERS), ignore_decorators=["@*_validator"])
    vulture.scavenge([ROOT / name for name in (*PACKAGES, "examples", "scripts")])
    dead = [
        f"{item.filename.relative_to(ROOT)}:{item.first_lineno}: {item.typ} {item.name}"
        for item in vulture.get_unused_code(min_confidence=60)
        if item.typ in KINDS
    ]
    assert dead == []
