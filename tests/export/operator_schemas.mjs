// Validates objects of the Prometheus operator, read as a JSON list, against the published schemas of their kinds.
import { readFileSync } from "node:fs";
import { PodMonitor, PrometheusRule, ServiceMonitor } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1";
import { AlertmanagerConfig } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1alpha1";

const kinds = { PodMonitor, PrometheusRule, ServiceMonitor, AlertmanagerConfig };
for (const document of JSON.parse(readFileSync(0, "utf8"))) new kinds[document.kind](document).validate();
