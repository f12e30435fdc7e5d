{{/* What the two stores' pods have in common. */}}

{{- define "lateen.localStores.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with include "lateen.pullSecrets" . | trim }}
{{ . }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
terminationGracePeriodSeconds: 10
{{- with .Values.localStores.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.localStores.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "lateen.localStores.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* dict root, name */}}
{{- define "lateen.localStores.data" -}}
{{- if .root.Values.localStores.persistence.enabled -}}
persistentVolumeClaim: {claimName: {{ .name }}}
{{- else -}}
emptyDir: {sizeLimit: {{ .root.Values.localStores.persistence.emptyDirSizeLimit }}}
{{- end }}
{{- end }}

{{/* The volume, which outlives the release. dict root, component, name */}}
{{- define "lateen.localStores.claim" -}}
{{- $claim := .root.Values.localStores.persistence -}}
{{- if $claim.enabled }}
---
apiVersion: v1
kind: PersistentVolumeClaim
{{ include "lateen.metadata" (dict "root" .root "component" .component "name" .name "annotations" (merge (dict "helm.sh/resource-policy" "keep") $claim.annotations)) }}
spec:
  accessModes:
    {{- toYaml $claim.accessModes | nindent 4 }}
  {{- with $claim.storageClass }}
  storageClassName: {{ . }}
  {{- end }}
  resources:
    requests:
      storage: {{ $claim.size }}
{{- end }}
{{- end }}
