"""Pictures over ZeroMQ: ``zmq://127.0.0.1:5556`` binds a PULL socket; hosts PUSH image files.

A message is one image file, or the token and then the image file as two parts. PUSH waits while
the queue is full on its side, so that the bound is the host's high-water mark and this queue.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from cameras.errors import CameraError, ImageError, SourceError
from cameras.options import Options
from cameras.push.address import Binding, binding_from_address
from cameras.push.queue import Arrival, Inbox, InboxFullError, Rules

if TYPE_CHECKING:
    import zmq

LOG = logging.getLogger("cameras")
_POLL_MS = 100
_HIGH_WATER = 4  # messages that ZeroMQ itself may hold


def open_zeromq(address: str, *, options: Options, stall_after: float) -> Inbox:
    """Listen for pictures; needs the extra ``zeromq``.

    Args:
        address: ``zmq://HOST:PORT``; without HOST, 127.0.0.1.
        options: ``token`` or ``token_file``, ``newest``, ``queue``, ``max_mib``.
        stall_after: with ``newest``: seconds of silence that are told.

    Raises:
        SourceError: a wrong address or option, or pyzmq is missing.
        CameraError: the address cannot be had.
    """
    binding = binding_from_address(address, options)
    rules = Rules.asked(options, stall_after=stall_after)
    options.done()
    try:
        import zmq
    except ImportError as error:
        raise SourceError(
            f"{options.name}: pyzmq is not installed; pip install 'protoedge[zeromq]'"
        ) from error
    context = zmq.Context()
    pull = context.socket(zmq.PULL)
    try:
        pull.set(zmq.LINGER, 0)
        pull.set(zmq.RCVHWM, _HIGH_WATER)
        pull.set(zmq.MAXMSGSIZE, rules.max_bytes)
        pull.set(zmq.IPV6, ":" in binding.host)
        pull.bind(f"tcp://{binding.address}" if binding.port else f"tcp://{binding.address[:-2]}:*")
        port = int(pull.get_string(zmq.LAST_ENDPOINT).rpartition(":")[2])
    except zmq.ZMQError as error:
        context.destroy(0)
        raise CameraError(
            f"{options.name}: cannot listen: {error.strerror}; choose another port or address"
        ) from error
    bound = Binding(binding.host, port, binding.token)
    inbox = Inbox(f"zmq://{bound.address}", rules)
    return inbox.served_by(_Puller(context, pull, bound, inbox).close)


class _Puller:
    """One thread that receives."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        pull: zmq.Socket[bytes],
        binding: Binding,
        inbox: Inbox,
    ) -> None:
        self._context = context
        self._pull = pull
        self._binding = binding
        self._inbox = inbox
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="edge-zeromq", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread, which closes the socket: ZeroMQ's sockets belong to one thread."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                if self._pull.poll(_POLL_MS):
                    self._receive(self._pull.recv_multipart())
        finally:
            self._context.destroy(0)

    def _receive(self, parts: list[bytes]) -> None:
        arrival = Arrival.now()
        wanted = 2 if self._binding.token else 1
        if len(parts) != wanted or not self._binding.admits(parts[0] if wanted == 2 else b""):
            LOG.warning(
                "%s: a message without the token, or of %d parts, is dropped",
                self._inbox.name,
                len(parts),
            )
            return
        try:
            self._inbox.accept(parts[-1], arrival)
        except (ImageError, InboxFullError) as error:
            LOG.warning("%s: a picture was not taken: %s", self._inbox.name, error)
