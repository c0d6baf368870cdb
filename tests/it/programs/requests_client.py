"""Debian's python3-requests, with PySocks for SOCKS: requests_client.py PROXY_PORT URL_BASE"""

import hashlib
import sys

import requests

PORT, BASE = int(sys.argv[1]), sys.argv[2]

for scheme in ["socks5h", "socks4a", "http"]:
    session = requests.Session()
    session.trust_env = False
    session.proxies = {"http": f"{scheme}://127.0.0.1:{PORT}", "https": f"{scheme}://127.0.0.1:{PORT}"}
    for _ in range(3):
        hello = session.get(f"{BASE}/hello", timeout=20)
        assert hello.status_code == 200 and "behind the tunnel" in hello.text, (scheme, hello)
    missing = session.get(f"{BASE}/missing", timeout=20)
    assert missing.status_code == 404, (scheme, missing)
    big = session.get(f"{BASE}/bytes/3000000", timeout=60)
    assert len(big.content) == 3_000_000, (scheme, len(big.content))
    print(scheme, hashlib.sha256(big.content).hexdigest())
