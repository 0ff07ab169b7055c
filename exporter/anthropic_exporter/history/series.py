"""Names of the series that the commands read, in one place: those of the recorder and those that rules record."""

from __future__ import annotations

from anthropic_exporter.metrics import families as f

THRESHOLD = "anthropic_threshold"
ALERTS = "ALERTS"
#: Our alerts; the heartbeat fires always and is no incident.
OUR_ALERTS = 'alertname=~"Anthropic.+",alertname!="AnthropicWatchdog"'
#: Dollars of an open incident above what is usual, at any level of aggregation.
INCIDENT_COST = "anthropic_incident_cost_usd:sum"
INCIDENT_COST_SELECTOR = f'{{__name__=~".*:{INCIDENT_COST}"}}'

TOKENS, COST, REQUESTS = f.TOKENS, f.COST, f.REQUESTS
