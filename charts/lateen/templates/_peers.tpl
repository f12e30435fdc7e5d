{{/* NetworkPolicy peers. Their defaults are here and not among the values, where they would be merged with the user's. */}}

{{/* api, gateway, controller and worker. */}}
{{- define "lateen.platformPeer" -}}
namespaceSelector:
  matchLabels:
    kubernetes.io/metadata.name: {{ .Release.Namespace }}
podSelector:
  matchLabels:
    {{- include "lateen.selectorLabels" (dict "root" .) | nindent 4 }}
  matchExpressions:
    - {key: app.kubernetes.io/component, operator: In, values: [api, gateway, controller, worker]}
{{- end }}

{{- define "lateen.dnsPeer" -}}
{{- with .Values.functions.network.egress.dns -}}
{{- toYaml . -}}
{{- else -}}
namespaceSelector:
  matchLabels: {kubernetes.io/metadata.name: kube-system}
podSelector:
  matchLabels: {k8s-app: kube-dns}
{{- end -}}
{{- end }}

{{- define "lateen.ingressPeer" -}}
{{- with .Values.functions.ingress.controllerSelector -}}
{{- toYaml . -}}
{{- else -}}
namespaceSelector:
  matchExpressions:
    - {key: kubernetes.io/metadata.name, operator: In, values: [ingress-nginx, traefik, kube-system]}
{{- end -}}
{{- end }}

{{/* Empty: nobody. */}}
{{- define "lateen.monitoringPeer" -}}
{{- if .Values.metrics.from -}}
{{- toYaml .Values.metrics.from -}}
{{- else if kindIs "map" .Values.metrics.from -}}
namespaceSelector:
  matchLabels: {kubernetes.io/metadata.name: monitoring}
{{- end -}}
{{- end }}
