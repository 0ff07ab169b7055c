from __future__ import annotations

import subprocess
import sys

import anthropic_exporter


def test_the_facade_names_what_it_has() -> None:
    assert anthropic_exporter.__all__ == sorted(anthropic_exporter.__all__)
    for name in anthropic_exporter.__all__:
        assert getattr(anthropic_exporter, name) is not None


def test_the_recorder_stays_light() -> None:
    """Neither YAML nor the SDK nor anything of the command line is imported by `import anthropic_exporter`."""
    code = (
        "import sys, anthropic_exporter; print(sorted({'rich', 'click', 'starlette', 'anthropic'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
