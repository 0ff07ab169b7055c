"""The rules in a form for vmalert: `generate(Fit(format="vmalert"))`."""

from anthropic_exporter.rules.vmalert.form import Group, Rules, generate
from anthropic_exporter.rules.vmalert.inlining import reads

__all__ = ["Group", "Rules", "generate", "reads"]
