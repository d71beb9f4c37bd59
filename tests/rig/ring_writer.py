"""The other process of the ring's tests: writes what it is told over its socket."""

from __future__ import annotations

import json
import os
import socket
import sys

from cameras.capture.ring import RingWriter, Stamp


def main(descriptor: str, height: str, width: str) -> None:
    end = socket.socket(fileno=int(descriptor))
    ring = RingWriter((int(height), int(width)))
    socket.send_fds(end, [b"ring"], [ring.descriptor])
    number = 0
    while packet := end.recv(1000):
        word, value = json.loads(packet)
        if word == "die":
            os.kill(os.getpid(), 9)
        image = ring.begin()
        if image is not None:
            image[:] = value
            if word == "write":
                ring.publish(Stamp(number, value, value))
                number += 1
            if word == "abandon":
                ring.abandon()
        end.send(json.dumps(image is not None).encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
