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
- /code
{{- /* AWS's Lambda API: what its operations' paths begin with. */}}
- /2014-11-13
- /2015-03-31
- /2016-08-19
- /2017-03-31
- /2017-10-31
- /2018-10-31
- /2019-09-25
- /2019-09-30
- /2020-04-22
- /2020-06-30
- /2021-07-20
- /2021-10-31
- /2021-11-15
- /2024-08-31
- /2025-11-30
- /2025-12-01
- /2026-07-09
{{- end }}
