{{/* YAML of a list: what the api answers; all else is a function's hash, and the gateway's. */}}
{{- define "lateen.apiPaths" -}}
- /api
- /lambda
- /health
- /metrics
- /docs
- /redoc
- /ui
- /openapi.json
{{- end }}
