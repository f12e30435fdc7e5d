{{/* Names. Whatever is called something is called it here. */}}

{{- define "lateen.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 30 | trimSuffix "-" -}}
{{- end }}

{{/* Begins the names of all objects in the release's namespace. 40 characters, so that a component's name fits behind it. */}}
{{- define "lateen.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "lateen.name" . -}}
{{- if contains $name .Release.Name -}}
{{- include "lateen.shortened" (dict "text" .Release.Name "length" 40) -}}
{{- else -}}
{{- include "lateen.shortened" (dict "text" (printf "%s-%s" .Release.Name $name) "length" 40) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The release's name among everything in the cluster: two releases of one name live in different namespaces. */}}
{{- define "lateen.clusterName" -}}
{{- $full := include "lateen.fullname" . -}}
{{- if eq $full .Release.Namespace -}}
{{- $full -}}
{{- else -}}
{{- include "lateen.shortened" (dict "text" (printf "%s-%s" .Release.Namespace $full) "length" 40) -}}
{{- end -}}
{{- end }}

{{/* At most `length` characters; where some had to go, a digest keeps names apart. */}}
{{- define "lateen.shortened" -}}
{{- if le (len .text) (int .length) -}}
{{- .text -}}
{{- else -}}
{{- printf "%s-%s" (.text | trunc (int (sub .length 9)) | trimSuffix "-") (.text | sha256sum | trunc 8) -}}
{{- end -}}
{{- end }}

{{/* YAML of a list: the components that run. */}}
{{- define "lateen.components" -}}
- api
- gateway
- controller
{{- if .Values.worker.enabled }}
- worker
{{- end }}
{{- end }}

{{/* dict root, component: the component's objects. */}}
{{- define "lateen.componentName" -}}
{{- printf "%s-%s" (include "lateen.fullname" .root) .component -}}
{{- end }}

{{/* dict root, component, account (its values) */}}
{{- define "lateen.serviceAccountName" -}}
{{- if .account.name -}}
{{- .account.name -}}
{{- else if .account.create -}}
{{- include "lateen.componentName" . -}}
{{- else -}}
default
{{- end -}}
{{- end }}

{{- define "lateen.secretName" -}}
{{- .Values.auth.existingSecret | default (printf "%s-secrets" (include "lateen.fullname" .)) -}}
{{- end }}

{{- define "lateen.localStores.secretName" -}}
{{- .Values.localStores.auth.existingSecret | default (printf "%s-local-stores" (include "lateen.fullname" .)) -}}
{{- end }}

{{/* Of what the controller copies into functions' namespaces, which two releases may share. dict root, what */}}
{{- define "lateen.copiedName" -}}
{{- printf "%s-%s" (include "lateen.clusterName" .root) .what -}}
{{- end }}

{{/* dict root, name: a Service of the release, as an absolute name without the dot at its end. */}}
{{- define "lateen.serviceHost" -}}
{{- printf "%s-%s.%s.svc.%s" (include "lateen.fullname" .root) .component .root.Release.Namespace .root.Values.clusterDomain -}}
{{- end }}
