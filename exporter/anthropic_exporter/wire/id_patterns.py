"""How model ids are spelled. Imported with the first id that is read: compiling takes a millisecond.

The sources are those of `wire/model_ids.py`.
"""

from __future__ import annotations

import re

_FAMILY = "(?:opus|sonnet|haiku|fable|mythos)"

GOOGLE = re.compile(r"(?:.*/)?locations/([^/]+)/publishers/")
BEDROCK = re.compile(r"(?:([a-z][a-z-]*)\.)?anthropic\.(?=claude)")
# us.claude-…: some gateways leave out the vendor
GEOGRAPHY = re.compile(r"(us|eu|apac|jp|au|ca|sa|global|us-gov)\.(?=claude)")
# bedrock/us-gov-west-1/anthropic.claude-…: the region is before the id
GOV_REGION = re.compile(r"(?:^|/)us-gov-[a-z]+-\d/")
# anthropic/claude-…, vertex_ai/…, bedrock/converse/…, publishers/anthropic/models/…, anthropic:claude-…,
# gateway/anthropic:claude-…
GATEWAY = re.compile(r"(?:.*/)?(?:[a-z0-9_-]+:)?(?=(?:[a-z-]+\.)?(?:anthropic\.|anthropic--)?(?:databricks-)?claude)")
# -v1:0, -v1:0:200k, @20260205, @default, :beta, :thinking, [1m], -latest, -thinking
SUFFIX = re.compile(r"(?:-v\d+(?::[a-z0-9]+)*|@[a-z0-9]+|:[a-z0-9-]+|\[[a-z0-9]+\]|-latest|-thinking)$")
DOTTED = re.compile(r"(?<=\d)\.(?=\d)")
VERSION_FIRST = re.compile(rf"^claude-([4-9](?:-\d)?)-({_FAMILY})(?=-|$)")
# claude-opus-4-0, an alias of claude-opus-4-20250514
VERSION_0 = re.compile(rf"^(claude-{_FAMILY}-\d)-0$")
FAST = re.compile(rf"^(claude-{_FAMILY}-[0-9-]*\d)-fast(-20\d{{6}})?$")
# Account numbers, ARNs, projects, UUIDs, and words that a machine made: 20 letters and digits mixed, such as a ULID.
OPAQUE_PART = re.compile(
    r"\d{12}|(?:^|/)arn:|(?:^|/)projects/|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    r"|(?<![a-z0-9])(?=[a-z]*(?:\d[a-z]*){3})(?=\d*[a-z])[a-z0-9]{20,}(?![a-z0-9])"
)
# The id of an application inference profile without its ARN.
BARE_PROFILE = re.compile(r"(?=[a-z]*\d)(?=\d*[a-z])[a-z0-9]{12}")
