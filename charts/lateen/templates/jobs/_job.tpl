{{/* A job's pod. dict root, component, serviceAccount (a name), token (bool), containers (YAML text), volumes (YAML text), hook (bool) */}}
{{- define "lateen.jobPod" -}}
{{- $jobs := .root.Values.jobs -}}
metadata:
  labels:
    {{- include "lateen.podLabels" (dict "root" .root "component" .component "podLabels" $jobs.podLabels) | nindent 4 }}
  {{- with $jobs.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  restartPolicy: {{ .restartPolicy | default "Never" }}
  serviceAccountName: {{ .serviceAccount }}
  automountServiceAccountToken: {{ .token | default false }}
  enableServiceLinks: false
  {{- with include "lateen.pullSecrets" .root | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  securityContext:
    {{- toYaml $jobs.podSecurityContext | nindent 4 }}
  {{- with $jobs.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $jobs.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $jobs.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $jobs.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    {{- range .containers }}
    - name: {{ .name }}
      image: {{ include "lateen.image" (dict "root" $.root "image" $.root.Values.image) }}
      imagePullPolicy: {{ $.root.Values.image.pullPolicy }}
      command:
        {{- toYaml .command | nindent 8 }}
      {{- $env := list }}
      {{- range $name, $value := .env }}
      {{- $env = append $env (dict "name" $name "value" $value) }}
      {{- end }}
      env:
        {{- concat $env $jobs.extraEnv | toYaml | nindent 8 }}
      {{- with $jobs.extraEnvFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      resources:
        {{- toYaml $jobs.resources | nindent 8 }}
      securityContext:
        {{- toYaml $jobs.securityContext | nindent 8 }}
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
        {{- with .mounts }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- with $jobs.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- end }}
  volumes:
    - name: tmp
      emptyDir: {sizeLimit: 64Mi}
    {{- with .volumes }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- with $jobs.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
