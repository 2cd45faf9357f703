"""A TCP proxy in front of a server. It counts the connections.

Knows nothing of Kafka. A client that learns the server's own address connects to it directly from then on.
"""

import socket
import threading
from typing import List, Optional


class CountingProxy:
    """Open until it is closed. ``opened`` counts the connections."""

    def __init__(self, to: str) -> None:
        host, port = to.rsplit(":", 1)
        self._to = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:{}".format(self._listener.getsockname()[1])
        self.opened = 0
        self._open: List[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                outside, _ = self._listener.accept()
            except OSError:
                return
            self.opened += 1
            inside = socket.create_connection(self._to)
            self._open += [outside, inside]
            for pair in ((outside, inside), (inside, outside)):
                threading.Thread(target=self._carry, args=pair, name="proxy", daemon=True).start()

    @staticmethod
    def _carry(source: socket.socket, sink: socket.socket) -> None:
        try:
            for part in iter(lambda: source.recv(65536), b""):
                sink.sendall(part)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self) -> None:
        for one in self._open:
            try:
                one.shutdown(socket.SHUT_RDWR)  # a blocked accept() or recv() ends with this, not with close()
            except OSError:
                pass
            one.close()

    def __enter__(self) -> "CountingProxy":
        return self

    def __exit__(self, *_: Optional[object]) -> None:
        self.close()
