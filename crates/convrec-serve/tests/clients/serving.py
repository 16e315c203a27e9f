"""A server in a process of its own, and a proxy that holds its answers back."""

import contextlib
import json
import os
import socket
import subprocess
import threading
import urllib.request
from urllib.parse import urlsplit

# Generous, as tests run beside others; nothing waits so long unless it has failed.
PATIENCE = 60

# An operator's key. It is no secret: the server lives as long as the tests.
ADMIN = "operator"


class Server:
    """The example `tiny`, at a port of its own."""

    def __init__(self, *flags: str, keys: str = ""):
        environment = {**os.environ, "CONVREC_ADMIN_KEY": ADMIN, "CONVREC_API_KEYS": keys}
        command = [os.environ["CONVREC_TINY"], *flags]
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, text=True
        )
        self.url = self.process.stdout.readline().strip()
        assert self.url.startswith("http://"), "the server did not start"

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path, timeout=PATIENCE) as answer:
            return answer.read().decode()

    def reload(self, **what):
        """Changes the catalog, as an operator."""
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {ADMIN}"}
        body = json.dumps(what).encode()
        request = urllib.request.Request(self.url + "/admin/reload", body, headers)
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            assert json.load(answer)["success"]

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class Gate:
    """A proxy that lets only so many events of a stream through: no test needs to be quick."""

    def __init__(self, server: Server):
        place = urlsplit(server.url)
        self.there = (place.hostname, place.port)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.changed = threading.Condition()
        self.allowed = None  # events of each answer; None is all
        self.cuts = 0
        threading.Thread(target=self._listen, daemon=True).start()

    def allow(self, events):
        with self.changed:
            self.allowed = events
            self.changed.notify_all()

    def cut(self):
        """Breaks off all answers that are held back."""
        with self.changed:
            self.cuts += 1
            self.changed.notify_all()

    def close(self):
        self.cut()
        self.listener.close()

    def _listen(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(self.there)
            for task, ends in ((self._ask, (client, server)), (self._answer, (server, client))):
                threading.Thread(target=task, args=ends, daemon=True).start()

    def _ask(self, source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def _answer(self, source, sink):
        """An event ends with an empty line."""
        passed, cuts, kept, is_stream = 0, self.cuts, b"", False
        try:
            while data := source.recv(65536):
                is_stream = is_stream or b"text/event-stream" in data
                if not is_stream:
                    sink.sendall(data)
                    continue
                kept += data
                while kept:
                    event, end, kept = kept.partition(b"\n\n")
                    with self.changed:
                        while self.allowed is not None and passed >= self.allowed:
                            if self.cuts > cuts:
                                return
                            self.changed.wait(PATIENCE)
                    passed += bool(end)
                    sink.sendall(event + end)
        except OSError:
            pass
        finally:
            # The other thread may wait for one of them.
            for end in (source, sink):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()
