"""One local page with which an engineer goes from the camera to handover: `edge studio`."""
