"""A real Prometheus scrapes a protected server: with the right certificate, password or token it is up, else down."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from anthropic_exporter import Recorder, ServiceHandle, serve, toolchain
from anthropic_exporter.stack.process import Process
from certificates import Certificates, hashed

pytestmark = pytest.mark.stack
PATIENCE_SECONDS = 60.0
CLIENTS = ("  client_auth_type: RequireAndVerifyClientCert", "  client_ca_file: ca.crt")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    made = Certificates(tmp_path_factory.mktemp("certificates"))
    (made.folder / "token").write_text("a long random word")
    return made


def job(name: str, server: ServiceHandle, **settings: dict[str, str]) -> dict[str, Any]:
    address = server.url.partition("//")[2]
    return {"job_name": name, "scheme": "https", "static_configs": [{"targets": [address]}], **settings}


def health(address: str) -> dict[str, str]:
    with urllib.request.urlopen(f"http://{address}/api/v1/targets", timeout=30) as answer:
        targets = json.load(answer)["data"]["activeTargets"]
    return {one["labels"]["job"]: one["health"] for one in targets}


def test_prometheus_scrapes_over_tls(certificates: Certificates, tmp_path: Path) -> None:
    folder = certificates.folder
    users = ("basic_auth_users:", f"  prometheus: {hashed('correct horse')}", "bearer_token_files: [token]")
    trust = {"ca_file": str(folder / "ca.crt")}
    client = {**trust, "cert_file": str(folder / "client.crt"), "key_file": str(folder / "client.key")}
    with (
        serve(Recorder(registry=None), port=0, web_config=certificates.config("mtls.yml", *CLIENTS)) as closed,
        serve(Recorder(registry=None), port=0, web_config=certificates.config("users.yml", *users)) as named,
        socket.create_server(("127.0.0.1", 0)) as held,
    ):
        jobs = [
            job("certificate", closed, tls_config=client),
            job("no certificate", closed, tls_config=trust),
            job(
                "password", named, tls_config=trust, basic_auth={"username": "prometheus", "password": "correct horse"}
            ),
            job("wrong password", named, tls_config=trust, basic_auth={"username": "prometheus", "password": "x"}),
            job("token", named, tls_config=trust, authorization={"credentials_file": str(folder / "token")}),
            job("nothing", named, tls_config=trust),
            job("no trust", named, basic_auth={"username": "prometheus", "password": "correct horse"}),
        ]
        config = tmp_path / "prometheus.yml"
        config.write_text(yaml.safe_dump({"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}))
        address = f"127.0.0.1:{held.getsockname()[1]}"
        held.close()
        command = [
            str(toolchain.provide(("prometheus",))["prometheus"]),
            f"--config.file={config}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address={address}",
        ]
        prometheus = Process(command, tmp_path / "prometheus.log", f"http://{address}/-/ready")
        try:
            prometheus.wait_until_ready()
            deadline = time.monotonic() + PATIENCE_SECONDS
            while "unknown" in (found := health(address)).values() or not found:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        finally:
            prometheus.close()
    up = {name for name, state in found.items() if state == "up"}
    assert up == {"certificate", "password", "token"}
    assert len(found) == 7


def test_the_file_is_one_that_prometheus_itself_accepts(certificates: Certificates) -> None:
    """But for the tokens, which are an addition."""
    promtool = toolchain.provide(("promtool",))["promtool"]
    path = certificates.config(
        "shared.yml",
        *CLIENTS,
        "  min_version: TLS12",
        "http_server_config: {http2: true, headers: {X-Frame-Options: deny}}",
        "basic_auth_users:",
        f"  alice: {hashed('x')}",
    )
    subprocess.run([promtool, "check", "web-config", path], check=True, capture_output=True)
    with serve(Recorder(registry=None), port=0, web_config=path) as server:
        assert server.url.startswith("https://")
