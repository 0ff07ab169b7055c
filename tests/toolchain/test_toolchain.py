from __future__ import annotations

import concurrent.futures
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.toolchain import relocated
from anthropic_exporter.toolchain import tools as toolchain
from anthropic_exporter.toolchain.__main__ import main

APT_GET = """#!/bin/sh
echo "$*" >> {log}
case "$*" in *" download "*) for package; do :; done; touch "$package.deb";; *" update") exit 100;; esac
"""
DPKG = """#!/bin/sh
mkdir -p "$3/usr/bin"
for name in prometheus promtool prometheus-alertmanager amtool; do
  printf '#!/bin/sh\\necho version 2.42.0\\n' > "$3/usr/bin/$name"; chmod +x "$3/usr/bin/$name"
done
"""


def executable(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def program(folder: Path, name: str, version: str) -> None:
    executable(folder / name, f'#!/bin/sh\necho "{name}, version {version} (branch: HEAD)" >&2\n')


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine of its own: nothing on PATH but a shell's basics and what the test puts there."""
    path, basics = tmp_path / "path", tmp_path / "basics"
    path.mkdir()
    basics.mkdir()
    for name in ("sh", "mkdir", "touch", "chmod", "basename", "dirname", "tr"):
        (basics / name).symlink_to(shutil.which(name))
    monkeypatch.setenv("PATH", f"{path}:{basics}")
    monkeypatch.setattr(toolchain, "home", lambda: tmp_path / "home")
    toolchain._homebrew_prefix.cache_clear()
    yield path
    toolchain._homebrew_prefix.cache_clear()


@pytest.fixture
def debian(machine: Path, tmp_path: Path) -> Path:
    log = tmp_path / "apt-get.log"
    executable(machine / "apt-get", APT_GET.format(log=log))
    executable(machine / "dpkg", DPKG)
    return log


def test_a_tool_on_path_is_taken_from_there(machine: Path) -> None:
    program(machine, "promtool", "3.13.0")
    assert toolchain.find("promtool") == machine / "promtool"


def test_alertmanager_has_another_name_on_debian(machine: Path) -> None:
    program(machine, "prometheus-alertmanager", "0.25.0")
    assert toolchain.find("alertmanager") == machine / "prometheus-alertmanager"


def test_a_tool_too_old_for_the_rules_is_passed_over(machine: Path) -> None:
    program(machine, "prometheus", "2.31.2")
    assert toolchain.find("prometheus") is None


def test_homebrew_is_searched(machine: Path, tmp_path: Path) -> None:
    (tmp_path / "brewed/bin").mkdir(parents=True)
    program(tmp_path / "brewed/bin", "prometheus", "3.16.0")
    executable(machine / "brew", f"#!/bin/sh\necho {tmp_path}/brewed\n")
    assert toolchain.find("prometheus") == tmp_path / "brewed/bin/prometheus"


def test_missing_tools_are_unpacked_although_a_third_party_source_fails(debian: Path, tmp_path: Path) -> None:
    found = toolchain.provide()
    assert found == {
        name: tmp_path / "home/bin" / name for name in ("prometheus", "promtool", "alertmanager", "amtool")
    }
    version = subprocess.run([found["alertmanager"]], capture_output=True, text=True, check=True).stdout
    assert version == "version 2.42.0\n"
    assert [path.name for path in (tmp_path / "home").iterdir() if path.name.startswith("unpack-")] == []


def test_an_unpacked_program_finds_the_files_it_was_built_to_find_in_usr(tmp_path: Path) -> None:
    tree = tmp_path / "packages/tool/usr"
    (tree / "share/prometheus/alertmanager").mkdir(parents=True)
    (tree / "share/prometheus/alertmanager/default.tmpl").write_text("the template\n")
    (tree / "bin").mkdir()
    executable(
        tree / "bin/tool", "#!/bin/sh\nread line < /usr/share/prometheus/alertmanager/default.tmpl\necho $line $1\n"
    )
    for _ in range(2):
        relocated.show(tree / "bin/tool", tree, tmp_path / "bin/tool")
    said = subprocess.run([tmp_path / "bin/tool", "an argument"], capture_output=True, text=True, check=True).stdout
    assert said == "the template an argument\n"


def test_an_unpacked_program_finds_its_libraries(tmp_path: Path) -> None:
    tree = tmp_path / "packages/tool/usr"
    (tree / "lib/x86_64-linux-gnu").mkdir(parents=True)
    (tree / "bin").mkdir()
    executable(tree / "bin/tool", "#!/bin/sh\necho $LD_LIBRARY_PATH\n")
    relocated.show(tree / "bin/tool", tree, tmp_path / "bin/tool")
    said = subprocess.run([tmp_path / "bin/tool"], capture_output=True, text=True, check=True).stdout.strip()
    assert Path(said).resolve() == tree / "lib/x86_64-linux-gnu"


def test_an_unpacked_browser_finds_libraries_outside_of_usr_and_its_fonts(
    debian: Path, machine: Path, tmp_path: Path
) -> None:
    executable(
        machine / "dpkg",
        """#!/bin/sh
for library in lib/x86_64-linux-gnu usr/lib/x86_64-linux-gnu/pulseaudio; do
  mkdir -p "$3/$library"; touch "$3/$library/libown.so.1"
done
mkdir -p "$3/usr/bin" "$3/usr/lib/chromium" "$3/usr/share/fonts"
printf '#!/bin/sh\necho wrapper\n' > "$3/usr/bin/chromium"
printf '#!/bin/sh\necho $LD_LIBRARY_PATH; echo $FONTCONFIG_FILE\n' > "$3/usr/lib/chromium/chromium"
cp "$3/usr/bin/chromium" "$3/usr/bin/chromedriver"
chmod +x "$3"/usr/bin/* "$3"/usr/lib/chromium/chromium
""",
    )
    (machine / "cp").symlink_to(shutil.which("cp", path="/usr/bin:/bin"))
    found = toolchain.provide(["chromium", "chromedriver"])
    assert found["chromedriver"] == tmp_path / "home/bin/chromedriver"
    libraries, fonts = subprocess.check_output([found["chromium"]], text=True).splitlines()
    assert [Path(folder).is_dir() for folder in libraries.split(":")] == [True] * 3
    assert any(folder.endswith("pulseaudio") for folder in libraries.split(":"))
    assert '<dir prefix="relative">share/fonts</dir>' in Path(fonts).read_text()
    assert (Path(fonts).parent / "share/fonts").is_dir()


def test_promtool_may_have_a_package_of_its_own(debian: Path, machine: Path, tmp_path: Path) -> None:
    executable(
        machine / "dpkg",
        """#!/bin/sh
name="$(basename "$2" .deb)"
mkdir -p "$3/usr/bin"
printf '#!/bin/sh\\necho version 3.5.3\\n' > "$3/usr/bin/$name"; chmod +x "$3/usr/bin/$name"
""",
    )
    found = toolchain.provide(["prometheus", "promtool"])
    assert found == {name: tmp_path / "home/bin" / name for name in ("prometheus", "promtool")}
    assert [line.split()[-1] for line in debian.read_text().splitlines() if " download " in line] == [
        "prometheus",
        "promtool",
    ]


def test_promtool_may_be_in_the_package_of_the_server(debian: Path, tmp_path: Path) -> None:
    executable(
        tmp_path / "path/apt-get",
        APT_GET.format(log=debian).replace('touch "$package.deb"', '[ "$package" = promtool ] || touch "$package.deb"'),
    )
    assert toolchain.provide(["promtool"]) == {"promtool": tmp_path / "home/bin/promtool"}


def test_unpacked_tools_are_not_fetched_again(debian: Path) -> None:
    toolchain.provide(["prometheus"])
    before = debian.read_text()
    toolchain.provide(["prometheus", "promtool"])
    assert debian.read_text() == before


def test_callers_at_the_same_time_unpack_once(debian: Path) -> None:
    together = threading.Barrier(4)

    def caller() -> Path:
        together.wait()
        return toolchain.provide(["promtool"])["promtool"]

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        paths = {future.result() for future in [pool.submit(caller) for _ in range(4)]}
    assert len(paths) == 1
    assert sum(" download " in line for line in debian.read_text().splitlines()) == 1


def test_apt_get_writes_only_below_the_tools_folder(debian: Path, tmp_path: Path) -> None:
    toolchain.provide(["prometheus"])
    command = debian.read_text().splitlines()[0]
    for option in ("Dir::State", "Dir::State::lists", "Dir::Cache"):
        assert f"{option}={tmp_path}/home/" in command


def test_what_cannot_be_had_is_one_line_that_says_what_to_install(machine: Path) -> None:
    with pytest.raises(ConfigurationError) as error:
        toolchain.provide(["prometheus", "amtool"])
    assert str(error.value) == (
        "prometheus 2.42 or later, amtool 0.25 or later not found: put it on PATH, or run "
        "`brew install prometheus alertmanager` or `apt-get install prometheus prometheus-alertmanager`"
    )


def test_an_unknown_tool_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="'grafana' is not one of prometheus, promtool"):
        toolchain.find("grafana")


def test_the_module_prints_where_each_tool_is(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program(machine, "promtool", "2.45.0")
    assert main(["promtool"]) == 0
    assert capsys.readouterr().out == f"promtool\t{machine}/promtool\n"


def test_the_module_ends_with_2_where_a_tool_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert capsys.readouterr().err.startswith("prometheus 2.42 or later, promtool 2.42 or later")
