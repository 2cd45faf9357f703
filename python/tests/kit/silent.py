"""A server that accepts every connection, reads what comes, and never answers: the broker that is worse than none."""

import socket
import threading
from typing import List, Optional


class SilentServer:
    """Listens on a loopback port of its own until it is closed. ``accepted`` counts the connections."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.bootstrap = "127.0.0.1:{}".format(self._listener.getsockname()[1])
        self.accepted = 0
        self._open: List[socket.socket] = []
        self._closed = False
        threading.Thread(target=self._accept, name="silent-server", daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            self._open.append(connection)
            if self._closed:  # `close` may have looked before: nobody else would close it.
                _shut(connection)
            threading.Thread(target=self._swallow, args=(connection,), name="silent-server", daemon=True).start()

    @staticmethod
    def _swallow(connection: socket.socket) -> None:
        try:
            while connection.recv(65536):
                pass
        except OSError:
            pass

    def close(self) -> None:
        self._closed = True
        for one in [self._listener, *self._open]:
            _shut(one)

    def __enter__(self) -> "SilentServer":
        return self

    def __exit__(self, *_: Optional[object]) -> None:
        self.close()


def _shut(one: socket.socket) -> None:
    try:
        one.shutdown(socket.SHUT_RDWR)  # a blocked accept() or recv() ends with this, not with close()
    except OSError:
        pass
    one.close()
