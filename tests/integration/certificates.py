"""A CA of the test's own, what it signs, and sockets that speak TLS with it.

With RAPYER_TLS=1 in the environment every Redis and every proxy of the tests that a daemon connects
to is at a port with TLS: any test can be run so."""

import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading

TLS = bool(os.environ.get("RAPYER_TLS"))
LOCAL = "DNS:localhost,IP:127.0.0.1"


class Authority:
    def __init__(self, directory, name="CA of the tests"):
        os.makedirs(directory, exist_ok=True)
        self.directory = directory
        self.key, self.certificate = self.path("ca.key"), self.path("ca.crt")
        self.make_key(self.key)
        openssl("req", "-x509", "-key", self.key, "-out", self.certificate, "-days", "30",
                "-subj", f"/CN={name}", "-addext", "basicConstraints=critical,CA:TRUE")

    def path(self, name):
        return os.path.join(self.directory, name)

    def make_key(self, path):
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path)
        os.chmod(path, 0o600)

    def sign(self, name, names=LOCAL, days=30):
        """Paths of a certificate and its key. days < 0: it has expired."""
        key, request, certificate, extensions = (
            self.path(f"{name}.{kind}") for kind in ("key", "csr", "crt", "ext"))
        self.make_key(key)
        with open(extensions, "w", encoding="ascii") as file:
            file.write(f"subjectAltName={names}\n")
        openssl("req", "-new", "-key", key, "-out", request, "-subj", f"/CN={name}")
        openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key,
                "-out", certificate, "-days", str(days), "-extfile", extensions)
        return certificate, key


def openssl(*words):
    done = subprocess.run(["openssl", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


class Common:
    """What everything shares that is only to have some TLS: made when it is first asked for."""

    def __init__(self):
        self.directory = None

    def authority(self):
        if self.directory is None:
            self.directory = tempfile.mkdtemp(prefix="rapyer-ca-", dir="/tmp")
            self.made = Authority(self.directory)
            self.pair = self.made.sign("redis")
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(*self.pair)
        return self.made

    def server_options(self, port):
        self.authority()
        return ["--port", "0", "--tls-port", str(port), "--tls-cert-file", self.pair[0],
                "--tls-key-file", self.pair[1], "--tls-ca-cert-file", self.made.certificate,
                "--tls-auth-clients", "no", "--tls-replication", "yes"]

    def settings(self):
        return {"redis.tls": 1, "redis.tls_ca_file": self.authority().certificate}

    def remove(self):
        if self.directory:
            shutil.rmtree(self.directory, ignore_errors=True)
        self.directory = None


common = Common()


class TlsSocket:
    """A socket with TLS whose two directions two threads may use (Python's own may not)."""

    def __init__(self, plain, context, server_side):
        self.plain = plain
        self.taken, self.given = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.taken, self.given, server_side=server_side)
        self.lock, self.sending = threading.Lock(), threading.Lock()
        self.run(self.tls.do_handshake)

    def flush(self):
        with self.sending:
            with self.lock:
                data = self.given.read()
            if data:
                self.plain.sendall(data)

    def run(self, step):
        while True:
            try:
                with self.lock:
                    done = step()
            except ssl.SSLWantReadError:
                self.flush()
                data = self.plain.recv(1 << 16)
                if not data:
                    raise OSError("ended") from None
                with self.lock:
                    self.taken.write(data)
            else:
                self.flush()
                return done

    def recv(self, size):
        """All that is there, be it one record or several."""
        try:
            data = self.run(lambda: self.tls.read(size))
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return b""
        try:
            while data and len(data) < size:
                with self.lock:
                    more = self.tls.read(size - len(data))
                if not more:
                    break
                data += more
        except ssl.SSLError:  # nothing yet, or the end, which is said again
            pass
        return data

    def sendall(self, data):
        with self.lock:
            if data:
                self.tls.write(data)
        self.flush()

    def shutdown(self, how):
        self.plain.shutdown(how)

    def close(self):
        self.plain.close()


def accept(plain):
    return TlsSocket(plain, common.context, True)


def connect(host, port):
    context = ssl.create_default_context(cafile=common.authority().certificate)
    plain = socket.create_connection((host, port))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    context.check_hostname = False
    return TlsSocket(plain, context, False)
