{{/* Images. */}}

{{/* dict root, image: `registry/repository@digest`, or `registry/repository:tag`. */}}
{{- define "lateen.image" -}}
{{- $registry := .root.Values.global.imageRegistry | default .image.registry -}}
{{- $repository := .image.repository -}}
{{- if $registry }}{{ $repository = printf "%s/%s" $registry $repository }}{{ end -}}
{{- if .image.digest -}}
{{- printf "%s@%s" $repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (.image.tag | default .root.Chart.AppVersion) -}}
{{- end -}}
{{- end }}

{{/* The invoker's, or a runtime's: what it does not say is as the platform's image has it. dict root, image, name */}}
{{- define "lateen.functionImage" -}}
{{- $of := .root.Values.image -}}
{{- $folder := dir $of.repository -}}
{{- $beside := ternary .name (printf "%s/%s" $folder .name) (eq $folder ".") -}}
{{- $image := .image | default dict -}}
{{- include "lateen.image" (dict "root" .root "image" (dict
  "registry" ($image.registry | default $of.registry)
  "repository" ($image.repository | default $beside)
  "tag" ($image.tag | default $of.tag)
  "digest" $image.digest)) -}}
{{- end }}

{{/* Lines of a pod's spec. */}}
{{- define "lateen.pullSecrets" -}}
{{- with .Values.global.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}
