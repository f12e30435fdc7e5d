{{/* Labels and annotations. */}}

{{/* dict root, component: by which Services, policies and budgets find pods; never changes for a release. */}}
{{- define "lateen.selectorLabels" -}}
app.kubernetes.io/name: {{ include "lateen.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{/* dict root, component */}}
{{- define "lateen.labels" -}}
{{- $own := include "lateen.selectorLabels" . | fromYaml -}}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") -}}
{{- $_ := set $own "app.kubernetes.io/version" (.root.Chart.AppVersion | replace "+" "_" | trunc 63) -}}
{{- $_ := set $own "app.kubernetes.io/managed-by" .root.Release.Service -}}
{{- $_ := set $own "app.kubernetes.io/part-of" "lateen" -}}
{{- merge $own .root.Values.commonLabels | toYaml -}}
{{- end }}

{{/* Of pods: those of objects change with the chart's version, which would start pods again for nothing.
     dict root, component, podLabels */}}
{{- define "lateen.podLabels" -}}
{{- merge (include "lateen.selectorLabels" . | fromYaml) (.podLabels | default dict) .root.Values.commonLabels | toYaml -}}
{{- end }}

{{/* Further lines of `metadata`. dict root, annotations (a dict, may be absent) */}}
{{- define "lateen.annotations" -}}
{{- with merge (dict) (.annotations | default dict) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* `metadata` of an object. dict root, component, name, annotations, labels, namespace (an object with none: "-") */}}
{{- define "lateen.metadata" -}}
metadata:
  name: {{ .name }}
  {{- if ne (.namespace | default "") "-" }}
  namespace: {{ .namespace | default .root.Release.Namespace }}
  {{- end }}
  labels:
    {{- merge (include "lateen.labels" . | fromYaml) (.labels | default dict) | toYaml | nindent 4 }}
  {{- with include "lateen.annotations" . | trim }}
  {{- . | nindent 2 }}
  {{- end }}
{{- end }}
