"""Throughput, CPU, memory and start-up of tunless beside the stock openvpn client; see `run` for the usage."""

import argparse
import contextlib
import ctypes
import os
import pathlib
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

CLIENT, SERVER, INNER = "10.77.0.1", "10.77.0.2", "10.99.0.1"
VPN_PORT, WEB_PORT, PROXY = 1194, 80, ("127.0.0.1", 1080)
TICK = os.sysconf("SC_CLK_TCK")
BLOCK = 1 << 20
# The kernel's default may be another; the peers send by this one.
CONGESTION = b"cubic"
libc = ctypes.CDLL(None, use_errno=True)


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class Host:
    """A network namespace."""

    def __init__(self, role):
        self.name = f"tunless-throughput-{os.getpid()}-{role}"
        run("ip", "netns", "add", self.name)
        run("ip", "-n", self.name, "link", "set", "lo", "up")

    def command(self, *command):
        return ["ip", "netns", "exec", self.name, *command]

    def enter(self):
        """Moves the calling thread into this host."""
        with open(f"/run/netns/{self.name}") as file:
            if libc.setns(file.fileno(), 0x40000000) != 0:
                raise OSError(ctypes.get_errno(), "setns")

    def remove(self):
        subprocess.run(["ip", "netns", "delete", self.name], check=False, capture_output=True)


def join(left, right):
    run("ip", "link", "add", "wan", "netns", left.name, "type", "veth", "peer", "name", "wan", "netns", right.name)
    for host, address in ((left, CLIENT), (right, SERVER)):
        run("ip", "-n", host.name, "address", "add", f"{address}/24", "dev", "wan")
        run("ip", "-n", host.name, "link", "set", "wan", "up")


def certificates(folder):
    """An authority, a server and a client, by openssl."""
    def openssl(*arguments):
        run("openssl", *arguments)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    ca, ca_key = folder / "ca.crt", folder / "ca.key"
    openssl("req", "-x509", *key, "-subj", "/CN=lab authority", "-days", "30", "-keyout", ca_key, "-out", ca)
    for name, usage in (("server", "serverAuth"), ("client", "clientAuth")):
        request, extensions = folder / f"{name}.csr", folder / f"{name}.ext"
        extensions.write_text(f"keyUsage=digitalSignature,keyAgreement\nextendedKeyUsage={usage}\n")
        openssl("req", *key, "-subj", f"/CN={name}", "-keyout", folder / f"{name}.key", "-out", request)
        openssl("x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-days", "30",
                "-extfile", extensions, "-out", folder / f"{name}.crt")
    run("openvpn", "--genkey", "secret", folder / "tls-crypt.key")


def inline(folder, name):
    files = {"ca": "ca.crt", "cert": f"{name}.crt", "key": f"{name}.key", "tls-crypt": "tls-crypt.key"}
    return "".join(f"<{tag}>\n{(folder / file).read_text()}</{tag}>\n" for tag, file in files.items())


def write_configurations(folder, proto):
    server = (f"dev tun\ndisable-dco\nproto {proto}{'-server' if proto == 'tcp' else ''}\nport {VPN_PORT}\n"
              "topology subnet\nserver 10.99.0.0 255.255.255.0\nkeepalive 10 60\ndh none\n"
              "data-ciphers AES-256-GCM\nverb 3\n")
    client = (f"client\ndev tun\nproto {proto}{'-client' if proto == 'tcp' else ''}\nremote {SERVER} {VPN_PORT}\n"
              "nobind\nremote-cert-tls server\ndata-ciphers AES-256-GCM\nverb 3\n")
    (folder / "server.conf").write_text(server + inline(folder, "server"))
    (folder / "client.ovpn").write_text(client + inline(folder, "client"))
    (folder / "client.ovpn").chmod(0o644)


class Program:
    """A started program with what /proc tells of it."""

    def __init__(self, command, log):
        self.log = log
        with open(log, "w") as file:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)

    def wait_for(self, text, seconds=15):
        deadline = time.monotonic() + seconds
        while text not in pathlib.Path(self.log).read_text(errors="replace"):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"no {text!r} from {self.process.args}:\n{pathlib.Path(self.log).read_text()}")
            time.sleep(0.005)

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def memory_mb(self, field):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) / 1024
        return float("nan")

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def by_cubic(sock):
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, CONGESTION)


def web_server(host, path):
    """Runs in a process of its own: GET sends the file, anything else is swallowed to its length."""
    host.enter()
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    by_cubic(listener)
    listener.bind((INNER, WEB_PORT))
    listener.listen(64)
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=answer, args=(sock, path), daemon=True).start()


def answer(sock, path):
    with contextlib.suppress(OSError), sock, open(path, "rb") as file:
        head = b""
        while b"\r\n\r\n" not in head:
            got = sock.recv(65536)
            if not got:
                return
            head += got
        head, body = head.split(b"\r\n\r\n", 1)
        if head.startswith(b"GET /small"):
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n")
        elif head.startswith(b"GET"):
            size = os.fstat(file.fileno()).st_size
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % size)
            sock.sendfile(file, 0, size)
        else:
            length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n")
                          if line.lower().startswith(b"content-length:"))
            left, room = length - len(body), bytearray(BLOCK)
            while left > 0:
                got = sock.recv_into(room, min(left, BLOCK))
                if not got:
                    return
                left -= got
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


class Stock:
    """The stock client; its traffic takes the TUN device."""

    name, curl = "openvpn", []

    def __init__(self, lab, _arguments):
        self.lab = lab

    def command(self):
        return self.lab.client.command("openvpn", "--config", str(self.lab.folder / "client.ovpn"), "--disable-dco")

    def connect(self):
        sock = socket.create_connection((INNER, WEB_PORT), timeout=5)
        by_cubic(sock)
        return sock


class Tunless:
    """Our client, as nobody and without capabilities; its traffic takes the proxy."""

    name, curl = "tunless", ["--socks5-hostname", "%s:%d" % PROXY]

    def __init__(self, lab, arguments):
        self.lab = lab
        self.program = lab.folder / "tunless"
        shutil.copy(arguments.tunless, self.program)
        self.program.chmod(0o755)

    def command(self):
        drop = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps=-all",
                "--ambient-caps=-all", "--bounding-set=-all", "--no-new-privs", "--"]
        return self.lab.client.command(*drop, str(self.program), str(self.lab.folder / "client.ovpn"))

    def connect(self):
        sock = socket.create_connection(PROXY, timeout=5)
        sock.sendall(b"\x05\x01\x00")
        self.expect(sock, 2, b"\x05\x00")
        sock.sendall(b"\x05\x01\x00\x01" + socket.inet_aton(INNER) + WEB_PORT.to_bytes(2, "big"))
        self.expect(sock, 10, b"\x05\x00\x00\x01")
        return sock

    @staticmethod
    def expect(sock, length, start):
        reply = sock.recv(length, socket.MSG_WAITALL)
        if len(reply) != length or not reply.startswith(start):
            sock.close()
            raise OSError(f"SOCKS reply {reply!r}")


class Lab:
    """Two hosts, a server, a web server behind it."""

    def __init__(self, folder, size):
        self.folder, self.size = folder, size
        self.hosts, self.vpn, self.web = [], None, None
        self.payload = folder / "payload"

    def build(self, proto):
        for role in ("client", "server"):
            self.hosts.append(Host(role))
        self.client, self.server = self.hosts
        join(self.client, self.server)
        certificates(self.folder)
        write_configurations(self.folder, proto)
        with open(self.payload, "wb") as file:
            for _ in range(self.size // BLOCK):
                file.write(os.urandom(BLOCK))
        command = self.server.command("openvpn", "--config", str(self.folder / "server.conf"))
        self.vpn = Program(command, self.folder / "server.log")
        self.vpn.wait_for("Initialization Sequence Completed")
        self.web = os.fork()
        if self.web == 0:
            web_server(self.server, self.payload)

    def remove(self):
        if self.web:
            os.kill(self.web, signal.SIGTERM)
            os.waitpid(self.web, 0)
        if self.vpn:
            self.vpn.end()
        for host in self.hosts:
            host.remove()


def small_page(client):
    with client.connect() as sock:
        sock.sendall(b"GET /small HTTP/1.1\r\nHost: inner\r\n\r\n")
        return sock.recv(64).startswith(b"HTTP/1.1 200")


def first_reply(client, program, start):
    """Seconds from the start of the process to the first reply through the tunnel."""
    while time.monotonic() - start < 15:
        if program.process.poll() is not None:
            break
        with contextlib.suppress(OSError):
            if small_page(client):
                return time.monotonic() - start
        time.sleep(0.0005)
    raise SystemExit(f"{client.name} gave no page:\n{pathlib.Path(program.log).read_text()}")


def download(client):
    command = ["curl", "-sS", "--fail", "--max-time", "300", "-o", "/dev/null", "-w", "%{size_download}", *client.curl,
               f"http://{INNER}/payload"]
    start = time.monotonic()
    size = run(*client.lab.client.command(*command))
    if int(size) != client.lab.size:
        raise SystemExit(f"{client.name} brought {size} bytes")
    return time.monotonic() - start


def upload(client):
    start = time.monotonic()
    with client.connect() as sock, open(client.lab.payload, "rb") as file:
        sock.settimeout(300)
        sock.sendall(b"POST /payload HTTP/1.1\r\nHost: inner\r\nContent-Length: %d\r\n\r\n" % client.lab.size)
        sock.sendfile(file)
        if not sock.recv(64).startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"{client.name}: the upload failed")
    return time.monotonic() - start


def measure(client, number):
    """One round: start, first reply, idle memory, down, up, end."""
    gigabytes = client.lab.size / 1e9
    start = time.monotonic()
    program = Program(client.command(), client.lab.folder / f"{client.name}-{number}.log")
    try:
        figures = {"first reply, ms": first_reply(client, program, start) * 1e3}
        figures["memory idle, MB"] = program.memory_mb("VmRSS")
        for name, transfer in (("down", download), ("up", upload)):
            before, server_before = program.cpu_seconds(), client.lab.vpn.cpu_seconds()
            seconds = transfer(client)
            figures[f"{name}, Gbit/s"] = gigabytes * 8 / seconds
            figures[f"{name}, CPU s/GB"] = (program.cpu_seconds() - before) / gigabytes
            figures[f"{name}, server's CPU s/GB"] = (client.lab.vpn.cpu_seconds() - server_before) / gigabytes
        figures["memory peak, MB"] = program.memory_mb("VmHWM")
        return figures
    finally:
        program.end()


def report(results, rounds, arguments, size):
    names = list(results)
    print(f"\nmedians of {rounds} rounds over {arguments.proto}, {size // BLOCK} MiB each way, AES-256-GCM, "
          f"{os.cpu_count()} cores shared by both ends, inner TCP senders of the kernel: {CONGESTION.decode()}")
    both = len(names) == 2
    print(f"{'':<24}" + "".join(f"{name:>12}" for name in names) + (f"{'ratio':>10}" if both else "") + "    all rounds")
    for figure in results[names[0]][0]:
        columns = [[figures[figure] for figures in results[name]] for name in names]
        medians = [statistics.median(column) for column in columns]
        line = f"{figure:<24}" + "".join(f"{median:>12.2f}" for median in medians)
        if both:
            line += f"{medians[1] / medians[0]:>10.2f}" if medians[0] else f"{'-':>10}"
        print(line + "    " + " | ".join(" ".join(f"{value:.2f}" for value in column) for column in columns))


def main():
    parser = argparse.ArgumentParser(prog="benches/throughput/run")
    parser.add_argument("--quick", action="store_true", help="three rounds of 128 MiB instead of five of 512")
    parser.add_argument("--stock-only", action="store_true", help="the stock client alone")
    parser.add_argument("--proto", choices=("udp", "tcp"), default="udp")
    parser.add_argument("--tunless", help="the program to measure")
    arguments = parser.parse_args()
    if not arguments.stock_only and not arguments.tunless:
        parser.error("--tunless PATH or --stock-only")
    rounds, size = (3, 128 * BLOCK) if arguments.quick else (5, 512 * BLOCK)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="tunless-throughput-") as folder:
        os.chmod(folder, 0o755)
        lab = Lab(pathlib.Path(folder), size)
        try:
            lab.build(arguments.proto)
            lab.client.enter()
            kinds = [Stock] if arguments.stock_only else [Stock, Tunless]
            clients = [kind(lab, arguments) for kind in kinds]
            results = {client.name: [] for client in clients}
            for number in range(rounds):
                for client in clients[:: 1 if number % 2 == 0 else -1]:
                    figures = measure(client, number)
                    results[client.name].append(figures)
                    print(f"round {number + 1} {client.name:<8} down {figures['down, Gbit/s']:.2f} "
                          f"up {figures['up, Gbit/s']:.2f} Gbit/s", flush=True)
            report(results, rounds, arguments, size)
        finally:
            lab.remove()


main()
