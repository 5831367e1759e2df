# SPDX-License-Identifier: Apache-2.0
"""What the soak programs share: a server of their own on the loopback, and what it holds."""
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Examples/python"))
# The clients lose their connections on purpose.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")


def add_options(parser):
    """The options of every soak program. What follows `--` goes to `silica serve`."""
    parser.add_argument(
        "--silica", default=str(ROOT / ".build/release/silica"), help="the program to test")
    parser.add_argument("--model", default="synthetic", help="what it serves")
    parser.add_argument("--json", metavar="FILE", help="write what was measured")


class Server:
    """`silica serve` on a free port, ended when the block ends."""

    def __init__(self, silica, model, *options, environment=None):
        self.output = tempfile.TemporaryFile("w+")
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [silica, "serve", "--model", model, "--listen", "127.0.0.1:0", *options],
            stdout=self.output, stderr=self.errors, stdin=subprocess.DEVNULL,
            env={k: v for k, v in os.environ.items() if k != "GRPC_VERBOSITY"}
            | (environment or {}))
        try:
            self.target = self.wait_until_ready()
        except BaseException:
            self.process.kill()
            raise

    def wait_until_ready(self):
        start = "silica: listening on "
        for _ in range(3_000):
            self.output.seek(0)
            text = self.output.read()
            if text.startswith(start) and text.endswith("\n"):
                return text.splitlines()[0][len(start):]
            if self.process.poll() is not None:
                sys.exit(f"the server ended at its start: {self.log()}")
            time.sleep(0.01)
        sys.exit("the server did not listen within 30 s")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.send_signal(signal.SIGTERM)  # The second one: at once.
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()

    @property
    def is_running(self):
        return self.process.poll() is None

    def log(self):
        """What it wrote to standard error."""
        self.errors.seek(0)
        return self.errors.read()

    @property
    def log_bytes(self):
        return os.fstat(self.errors.fileno()).st_size

    def resident_kib(self):
        return self.status("VmRSS")

    def peak_kib(self):
        """The most since `reset_peak`."""
        return self.status("VmHWM")

    def reset_peak(self):
        with open(f"/proc/{self.process.pid}/clear_refs", "w") as file:
            file.write("5")

    def status(self, key):
        with open(f"/proc/{self.process.pid}/status") as file:
            for line in file:
                if line.startswith(key + ":"):
                    return int(line.split()[1])
        raise KeyError(key)

    def open_files(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def cpu_seconds(self):
        with open(f"/proc/{self.process.pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def settle(self, open_files, resident_kib, seconds=12):
        """Waits until it holds no more than this; freed memory goes back in steps of 3 s."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.open_files() <= open_files and self.resident_kib() <= resident_kib:
                return
            time.sleep(0.05)

    def settle_files(self, seconds=5):
        """Waits until the number of open files stays for a moment."""
        last, since = self.open_files(), time.monotonic()
        end = since + seconds
        while time.monotonic() < min(end, since + 0.5):
            now = self.open_files()
            if now != last:
                last, since = now, time.monotonic()
            time.sleep(0.05)


class Certificates:
    """An authority and a server's certificate for localhost, in a folder that goes with it."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="silica-soak-")
        self.authority, self.authority_key = self.path("ca.pem"), self.path("ca.key")
        self.certificate, self.key = self.path("server.pem"), self.path("server.key")
        new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        self.openssl(
            "req", "-x509", "-subj", "/CN=soak authority", "-days", "2", *new_key,
            "-keyout", self.authority_key, "-out", self.authority)
        request = self.path("server.csr")
        self.openssl(
            "req", "-subj", "/CN=localhost", *new_key, "-keyout", self.key, "-out", request)
        names = self.path("names")
        pathlib.Path(names).write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        self.openssl(
            "x509", "-req", "-in", request, "-CA", self.authority, "-CAkey", self.authority_key,
            "-CAcreateserial", "-days", "2", "-extfile", names, "-out", self.certificate)

    def path(self, name):
        return str(pathlib.Path(self.folder.name) / name)

    def openssl(self, *arguments):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)

    @property
    def server_options(self):
        return ["--tls-certificate", self.certificate, "--tls-key", self.key]


def load_stubs():
    """The stubs of Examples/python."""
    import client

    return client.load_stubs()
