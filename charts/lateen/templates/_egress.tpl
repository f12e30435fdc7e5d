{{/* Where the platform's pods may connect to: the resolver, functions, the API server, the stores. */}}
{{- define "lateen.platformEgress" -}}
- ports:
    {{- range .Values.functions.network.egress.dnsPorts }}
    - {protocol: UDP, port: {{ int . }}}
    - {protocol: TCP, port: {{ int . }}}
    {{- end }}
  to:
    - {{ include "lateen.dnsPeer" . | nindent 6 | trim }}
- ports:
    - {protocol: TCP, port: 8080}
    - {protocol: TCP, port: 9090}
  to:
    - namespaceSelector: {}
      podSelector:
        matchLabels:
          app.kubernetes.io/name: lateen-function
          app.kubernetes.io/instance: {{ include "lateen.clusterName" . }}
- ports:
    {{- range .Values.networkPolicy.egress.ports }}
    - {protocol: TCP, port: {{ int . }}}
    {{- end }}
{{- if .Values.localStores.enabled }}
{{- range $component, $port := dict "dynamodb" 8000 "s3" 7070 "redis" 6379 }}
- ports:
    - {protocol: TCP, port: {{ $port }}}
  to:
    - podSelector:
        matchLabels:
          {{- include "lateen.selectorLabels" (dict "root" $ "component" $component) | nindent 10 }}
{{- end }}
{{- end }}
{{- with .Values.networkPolicy.egress.extra }}
{{ toYaml . }}
{{- end }}
{{- end }}
