"""The compose stack as written: pinned, closed, small, and whole."""

from __future__ import annotations

import configparser
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from anthropic_exporter import __version__

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
NAMES = sorted(SERVICES)
OURS = ("exporter", "demo", "secrets", "collector", "host-1", "host-2")
PORTS = {"collector": 9465, "exporter": 9464, "prometheus": 9090, "alertmanager": 9093, "grafana": 3000}
DOCKERFILE = (ROOT / "exporter/Dockerfile").read_text()


def filled_in(value: str) -> str:
    """As compose reads it where no variable is set: ${NAME:-default} is its default, ${NAME:+other} is empty."""
    value = re.sub(r"\$\{\w+:\+[^}]*\}", "", value)
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)


def test_the_services() -> None:
    always = {name for name in NAMES if "profiles" not in SERVICES[name]}
    assert always == {"alertmanager", "exporter", "grafana", "prometheus", "secrets"}
    profiles = {name: SERVICES[name]["profiles"] for name in NAMES if name not in always}
    fleet = {key: ["fleet"] for key in ("collector", "host-1", "host-2", "queue")}
    assert profiles == {"demo": ["demo"], **fleet}


@pytest.mark.parametrize("name", sorted({*NAMES} - {*OURS}))
def test_an_image_is_named_by_its_version_and_its_digest(name: str) -> None:
    assert re.fullmatch(r"[\w/-]+:v?\d+\.\d+\.\d+@sha256:[0-9a-f]{64}", SERVICES[name]["image"])


def test_the_base_image_is_named_by_its_version_and_its_digest() -> None:
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert len(bases) == 2
    assert len(set(bases)) == 1
    assert re.fullmatch(r"python:3\.13-slim-trixie@sha256:[0-9a-f]{64}", bases[0])


def test_each_image_has_a_digest_of_its_own() -> None:
    """A digest that was copied to the line of another image would pull that image under a wrong name."""
    text = (ROOT / "docker-compose.yml").read_text() + DOCKERFILE
    named = dict(re.findall(r"([\w/.:-]+)@sha256:([0-9a-f]{64})", text))
    assert len(named) == len(set(named.values())) == 5


def test_the_table_of_digests_says_what_is_pinned() -> None:
    text = (ROOT / "docker-compose.yml").read_text() + DOCKERFILE
    pinned = {(name, digest[:8]) for name, digest in re.findall(r"([\w/.:-]+)@sha256:([0-9a-f]{64})", text)}
    table = re.findall(r"^\| `([^`]+)`[^|]*\| `([0-9a-f]{8})` \|", (ROOT / "SECURITY.md").read_text(), re.MULTILINE)
    assert sorted(pinned) == sorted(table)


def test_an_action_of_a_workflow_is_named_by_its_commit_and_its_version() -> None:
    uses = [
        line.partition("uses: ")[2]
        for path in sorted((ROOT / ".github/workflows").glob("*.yml"))
        for line in path.read_text().splitlines()
        if "uses: " in line
    ]
    assert len(uses) == 6
    for one in uses:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one)


def test_updates_renew_every_place_that_names_an_image_or_an_action() -> None:
    updates = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text())["updates"]
    places = {(one["package-ecosystem"], one["directory"]) for one in updates}
    assert places == {("pip", "/"), ("github-actions", "/"), ("docker-compose", "/"), ("docker", "/exporter")}


def test_our_image_has_the_version_of_the_package() -> None:
    assert {SERVICES[name]["image"] for name in OURS} == {f"anthropic-exporter:{__version__}"}


def test_only_what_defends_itself_is_published_and_on_this_machine_only() -> None:
    published = {name: [filled_in(port) for port in SERVICES[name].get("ports", [])] for name in NAMES}
    assert published == {
        **{name: [] for name in NAMES},
        "collector": ["127.0.0.1:9465:9465"],
        "exporter": ["127.0.0.1:9464:9464"],
        "grafana": ["127.0.0.1:3000:3000"],
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_container_can_do_little(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["init"] is True
    assert "privileged" not in service
    assert service.get("user", "") not in {"root", "0"}


@pytest.mark.parametrize("name", NAMES)
def test_a_container_has_limits(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert 0 < service["cpus"] <= 2
    assert service["pids_limit"] == 256
    assert service["logging"]["options"]["max-size"] == "10m"


@pytest.mark.parametrize("name", sorted({*NAMES} - {"secrets", "queue"}))
def test_a_container_is_asked_for_its_health_on_its_own_port(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert f"127.0.0.1:{PORTS.get(name, 9464)}/" in check["test"][-1]
    assert check["interval"] == "10s"


@pytest.mark.parametrize("name", NAMES)
def test_mounted_files_exist(name: str) -> None:
    for volume in SERVICES[name].get("volumes", []):
        source, _, rest = volume.partition(":")
        if source.startswith("."):
            assert (ROOT / source).exists(), volume
            assert rest.endswith(":ro"), volume
        else:
            assert source in COMPOSE["volumes"]


def test_the_configurations_that_commands_name_exist() -> None:
    command = filled_in(" ".join(SERVICES["alertmanager"]["command"] + SERVICES["prometheus"]["command"]))
    files = re.findall(r"--config\.file=/etc/(\S+)", command)
    assert files == ["alertmanager/alertmanager.yml", "prometheus/prometheus.yml"]
    for file in files:
        assert (ROOT / file).is_file(), file


def test_prometheus_keeps_a_month_and_cannot_be_stopped_over_http() -> None:
    command = SERVICES["prometheus"]["command"]
    assert "--storage.tsdb.retention.time=45d" in command
    assert not [flag for flag in command if flag.startswith(("--web.enable-lifecycle", "--web.enable-admin-api"))]


def test_the_exporter_answers_to_its_own_names_only() -> None:
    command = [filled_in(word) for word in SERVICES["exporter"]["command"]]
    assert command == ["serve", "--host", "0.0.0.0", "--allow-host", "exporter", "--allow-host", "localhost"]


@pytest.mark.parametrize(
    ("given", "anonymous", "domain"),
    [
        ({}, "", ""),
        ({"BIND_ADDRESS": "0.0.0.0"}, "false", "false"),
        ({"BIND_ADDRESS": "0.0.0.0", "GRAFANA_ANONYMOUS": "true"}, "true", "false"),
        ({"GRAFANA_ANONYMOUS": "false"}, "false", ""),
    ],
)
def test_a_dashboard_that_others_reach_asks_for_a_log_in(given: dict[str, str], anonymous: str, domain: str) -> None:
    """An empty variable leaves what grafana.ini says: a viewer without a log-in, under the name localhost alone."""
    environment = SERVICES["grafana"]["environment"]
    assert interpolated(environment["GF_AUTH_ANONYMOUS_ENABLED"], given) == anonymous
    assert interpolated(environment["GF_SERVER_ENFORCE_DOMAIN"], given) == domain
    file = configparser.ConfigParser()
    file.read(ROOT / "grafana/grafana.ini")
    assert {name: dict(file[name]) for name in file.sections()} == {
        "server": {"domain": "localhost", "enforce_domain": "true"},
        "auth.anonymous": {"enabled": "true", "org_role": "Viewer"},
    }


def interpolated(value: str, given: dict[str, str]) -> str:
    """Variables as compose fills them in, the innermost first."""
    while found := re.search(r"\$\{(\w+):([-+])([^${}]*)\}", value):
        name, sign, text = found.groups()
        chosen = (given.get(name) or text) if sign == "-" else (text if given.get(name) else "")
        value = value[: found.start()] + chosen + value[found.end() :]
    return value


def test_the_fleet_publishes_to_the_queue_that_the_collector_reads() -> None:
    assert SERVICES["collector"]["environment"]["ANTHROPIC_EXPORTER_QUEUE"] == "redis://queue:6379"
    assert all("redis://queue:6379" in SERVICES[name]["command"] for name in ("host-1", "host-2"))
    assert {SERVICES[name]["hostname"] for name in ("host-1", "host-2")} == {"host-1", "host-2"}
    assert "noeviction" in SERVICES["queue"]["command"]  # a queue that drops keys would drop the whole stream


def test_the_first_start_makes_a_password_and_the_next_keeps_it(tmp_path: Path) -> None:
    script = SERVICES["secrets"]["entrypoint"][-1].replace("$$", "$").replace("/secrets", str(tmp_path))
    assert SERVICES["grafana"]["depends_on"] == {"secrets": {"condition": "service_completed_successfully"}}
    assert SERVICES["grafana"]["environment"]["GF_SECURITY_ADMIN_PASSWORD__FILE"] == "/secrets/grafana-admin-password"

    def start(given: str = "") -> str:
        environment = {"PATH": os.environ["PATH"], "GRAFANA_ADMIN_PASSWORD": given}
        subprocess.run(["sh", "-euc", script], env=environment, check=True)
        return (tmp_path / "grafana-admin-password").read_text().strip()

    password = start()
    assert len(password) == 24
    assert start() == password
    assert start("own") == start() == "own"
    assert [path.name for path in tmp_path.iterdir()] == ["grafana-admin-password"]


def test_prometheus_looks_for_an_edit_every_2_seconds() -> None:
    """What follows is shown on a Prometheus that does so, in tests/stack/test_edits_of_thresholds.py."""
    assert {"--enable-feature=auto-reload-config", "--config.auto-reload-interval=2s"} <= set(
        SERVICES["prometheus"]["command"]
    )
    assert re.search(r":v(\d+)\.", SERVICES["prometheus"]["image"])[1] == "3"


def test_prometheus_scrapes_every_service_that_has_metrics_and_the_demo_by_name() -> None:
    jobs = {
        job["job_name"]: job
        for job in yaml.safe_load((ROOT / "prometheus/prometheus.yml").read_text())["scrape_configs"]
    }
    assert sorted(jobs) == ["alertmanager", "anthropic", "anthropic-exporter", "prometheus"]
    found = [(one["names"], one["port"]) for one in jobs["anthropic"]["dns_sd_configs"]]
    assert found == [(["demo"], 9464), (["collector"], 9465)]
    assert jobs["anthropic-exporter"]["static_configs"][0]["targets"] == ["exporter:9464"]


def test_the_image_is_built_in_two_stages_and_runs_as_nobody() -> None:
    stages = re.findall(r"^FROM (\S+)", DOCKERFILE, flags=re.MULTILINE)
    assert len(stages) == 2
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert "\nUSER 65532:65532\n" in last
    assert "\nRUN " not in last
    assert '\nENTRYPOINT ["anthropic-exporter"]\nCMD ["serve", "--host", "0.0.0.0"]' in last
    assert "HEALTHCHECK" in last


def test_the_image_installs_only_what_has_a_hash() -> None:
    installs = re.findall(r"pip (?:--python \S+ )?(?:install|wheel) .*?(?= \\\n|\n)", DOCKERFILE)
    assert len(installs) == 4
    for command in installs:
        assert "--require-hashes" in command or "--no-deps" in command, command
    for name in ("image", "image-build"):
        text = (ROOT / f"constraints/{name}.txt").read_text()
        pins = re.findall(r"^([\w.-]+)==(\S+)(.*(?:\n    --hash=sha256:[0-9a-f]{64}.*)+)", text, re.MULTILINE)
        assert len(pins) == len(re.findall(r"^\w", text, re.MULTILINE)) > 2
        assert "://" not in text


def test_the_image_has_what_the_lists_for_development_have() -> None:
    """One version of each package: but for one that no list has, because it is for another system."""
    development = (ROOT / "constraints/python3.11.txt").read_text().replace("_", "-").lower()
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+)$", development, re.MULTILINE))
    image = re.findall(
        r"^([\w.-]+)==(\S+)", (ROOT / "constraints/image.txt").read_text().replace("_", "-"), re.MULTILINE
    )
    assert {name: version for name, version in image if pinned.get(name) != version} == {"httpx2-jsfetch": "1.0"}


def test_the_image_is_built_from_all_that_the_wheel_includes() -> None:
    project = (ROOT / "pyproject.toml").read_text().partition("wheel.force-include]")[2].partition("\n\n")[0]
    included = {source.partition("/")[0] for source in re.findall(r'^"([^"]+)" =', project, re.MULTILINE)}
    assert included == {"alertmanager", "docs", "grafana", "prometheus"}
    assert included <= set(re.findall(r"^COPY (\S+) \S+$", DOCKERFILE, re.MULTILINE))


def test_what_the_dockerfile_copies_is_not_ignored() -> None:
    allowed = re.findall(r"^!(\S+)", (ROOT / ".dockerignore").read_text(), flags=re.MULTILINE)
    copied = [words.split()[:-1] for words in re.findall(r"^COPY (?!--from)(.+)", DOCKERFILE, flags=re.MULTILINE)]
    assert sorted(allowed) == sorted(source for sources in copied for source in sources)
    assert "alertmanager/secrets/*" in (ROOT / ".dockerignore").read_text()


def test_the_documentation_names_every_setting_and_its_default() -> None:
    settings = set(re.findall(r"\$\{(\w+):[-+]", (ROOT / "docker-compose.yml").read_text()))
    documentation = (ROOT / "docs/docker.md").read_text()
    assert len(settings) == 8
    for name in settings:
        line = next(line for line in documentation.splitlines() if line.startswith("|") and f"`{name}`" in line)
        for default in re.findall(rf"\$\{{{name}:-([\w.]+)\}}", (ROOT / "docker-compose.yml").read_text()):
            assert default in line
