"""A road to a server that can be closed: TCP from a free port of 127.0.0.1 to somewhere else, or to nowhere."""

import contextlib
import math
import socket
import ssl
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit


class TcpRoad:
    """`url` leads to `target` while it `is_open`; else connections are refused in all but name: closed at once.

    `certificate`: with its key, in one file; the road begins with TLS then. `bytes_s`: no more than so many bytes get
    to the target in a second.
    """

    def __init__(
        self, target: str, *, is_open: bool = True, certificate: Path | None = None, bytes_s: float = math.inf
    ) -> None:
        self.target = target
        self._bytes_s = bytes_s
        parts = urlsplit(target)
        self._tls: ssl.SSLContext | None = None
        if certificate is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(certificate)
        self._target = (parts.hostname or "", parts.port or 80)
        self.is_open = is_open
        self._sockets: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        scheme = "http" if certificate is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def shut(self) -> None:
        """Nobody gets through any more, and who is on the road doesn't arrive."""
        self.is_open = False
        for sock in list(self._sockets):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def open(self) -> None:
        self.is_open = True

    def close(self) -> None:
        self.shut()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if not self.is_open:
                    client.close()
                    continue
                threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        try:
            if self._tls is not None:
                client = self._tls.wrap_socket(client, server_side=True)
            server = socket.create_connection(self._target, timeout=10)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        self._sockets |= {client, server}
        back = threading.Thread(target=self._carry, args=(server, client), daemon=True)
        back.start()
        self._carry(client, server, self._bytes_s)
        back.join()
        for sock in (client, server):
            self._sockets.discard(sock)
            sock.close()

    def _carry(self, source: socket.socket, target: socket.socket, bytes_s: float = math.inf) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
                time.sleep(len(data) / bytes_s)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)
