{{/* What api, gateway, controller and worker have in common. All take dict root, component, values (the component's). */}}

{{- define "lateen.deployment" -}}
{{- $root := .root -}}
{{- $values := .values -}}
apiVersion: apps/v1
kind: Deployment
{{ include "lateen.metadata" (dict "root" $root "component" .component "name" (include "lateen.componentName" .)) }}
spec:
  {{- if not $values.autoscaling.enabled }}
  replicas: {{ int $values.replicas }}
  {{- end }}
  revisionHistoryLimit: 5
  strategy:
    type: RollingUpdate
    rollingUpdate:
      maxUnavailable: {{ $values.rollingUpdate.maxUnavailable }}
      maxSurge: {{ $values.rollingUpdate.maxSurge }}
  selector:
    matchLabels:
      {{- include "lateen.selectorLabels" . | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "lateen.podLabels" (dict "root" $root "component" .component "podLabels" $values.podLabels) | nindent 8 }}
      annotations:
        {{- $annotations := dict "checksum/settings" (include "lateen.environment" $root | sha256sum) "checksum/functions" (include "lateen.functionsConfig" $root | sha256sum) -}}
        {{- if $root.Values.metrics.annotations }}{{ $annotations = merge $annotations (include "lateen.scrapeAnnotations" $root | fromYaml) }}{{ end }}
        {{- merge (dict) $values.podAnnotations $annotations | toYaml | nindent 8 }}
    spec:
      serviceAccountName: {{ include "lateen.serviceAccountName" (dict "root" $root "component" .component "account" $values.serviceAccount) }}
      automountServiceAccountToken: {{ eq .component "controller" }}
      enableServiceLinks: false
      {{- with include "lateen.pullSecrets" $root | trim }}
      {{- . | nindent 6 }}
      {{- end }}
      securityContext:
        {{- toYaml $values.podSecurityContext | nindent 8 }}
      {{- /* The controller has nobody's request to finish; the worker hands back what it could not. */}}
      {{- $grace := add (int $root.Values.drainSeconds) (int $root.Values.drainLagSeconds) 5 }}
      {{- if eq .component "controller" }}{{ $grace = 30 }}{{ else if eq .component "worker" }}{{ $grace = add (int $root.Values.drainSeconds) 15 }}{{ end }}
      terminationGracePeriodSeconds: {{ $grace }}
      {{- with $values.priorityClassName }}
      priorityClassName: {{ . }}
      {{- end }}
      {{- with $values.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $values.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $values.affinity }}
      affinity:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      topologySpreadConstraints:
        {{- include "lateen.spread" . | trim | nindent 8 }}
      containers:
        - name: {{ .component }}
          image: {{ include "lateen.image" (dict "root" $root "image" $root.Values.image) }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          command: [lateen]
          args: [{{ .component }}]
          ports:
            {{- if has .component (list "api" "gateway") }}
            - {name: http, containerPort: 8000}
            {{- end }}
            - {name: operations, containerPort: 9090}
          envFrom:
            - configMapRef:
                name: {{ include "lateen.fullname" $root }}
            {{- with $values.extraEnvFrom }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          {{- $env := list -}}
          {{- if eq .component "controller" }}
          {{- $env = append $env (dict "name" "LATEEN_POD_NAME" "valueFrom" (dict "fieldRef" (dict "fieldPath" "metadata.name"))) }}
          {{- end }}
          {{- with concat $env $values.extraEnv }}
          env:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          resources:
            {{- toYaml $values.resources | nindent 12 }}
          securityContext:
            {{- toYaml $values.securityContext | nindent 12 }}
          {{- range $probe := list "startupProbe" "livenessProbe" "readinessProbe" }}
          {{- $given := get $values $probe }}
          {{ $probe }}:
            httpGet: {path: {{ $given.path | quote }}, port: operations}
            {{- omit $given "path" | toYaml | nindent 12 }}
          {{- end }}
          volumeMounts:
            - {name: tmp, mountPath: /tmp}
            - {name: secrets, mountPath: /etc/lateen/secrets, readOnly: true}
            - {name: functions, mountPath: /etc/lateen/functions, readOnly: true}
            {{- with include "lateen.storeMounts" $root | trim }}
            {{- . | nindent 12 }}
            {{- end }}
            {{- if and (has .component (list "api" "worker")) (include "lateen.redisSecret" $root) }}
            - {name: redis, mountPath: /etc/lateen/redis, readOnly: true}
            {{- end }}
            {{- if eq .component "controller" }}
            {{- range include "lateen.copiedSecrets" $root | fromYamlArray }}
            - {name: copied-{{ .folder }}, mountPath: {{ include "lateen.copiedFolder" .folder }}, readOnly: true}
            {{- end }}
            {{- end }}
            {{- with $values.extraVolumeMounts }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
      volumes:
        - name: tmp
          # The controller has what builds made there for a moment, and the api large packages from buckets.
          emptyDir: {sizeLimit: {{ ternary "2Gi" "256Mi" (has .component (list "api" "controller")) }}}
        - name: secrets
          secret:
            secretName: {{ include "lateen.secretName" $root }}
            defaultMode: 0440
            items:
              - {key: {{ $root.Values.auth.keys.masterKey | quote }}, path: master-key}
        - name: functions
          configMap:
            name: {{ include "lateen.fullname" $root }}-functions
        {{- with include "lateen.storeVolumes" $root | trim }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- if and (has .component (list "api" "worker")) (include "lateen.redisSecret" $root) }}
        - name: redis
          secret:
            secretName: {{ include "lateen.redisSecret" $root }}
            defaultMode: 0440
            items:
              {{- if $root.Values.localStores.enabled }}
              - {key: {{ $root.Values.localStores.auth.keys.secretAccessKey | quote }}, path: password}
              {{- else }}
              - {key: {{ $root.Values.queue.redis.key | quote }}, path: url}
              {{- end }}
        {{- end }}
        {{- if eq .component "controller" }}
        {{- range include "lateen.copiedSecrets" $root | fromYamlArray }}
        - name: copied-{{ .folder }}
          secret:
            secretName: {{ .secret }}
            defaultMode: 0440
            items:
              {{- toYaml .items | nindent 14 }}
        {{- end }}
        {{- end }}
        {{- with $values.extraVolumes }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
{{- end }}

{{/* What is to be had of the stores' credentials and certificates: mounts, then volumes. Takes the root. */}}
{{- define "lateen.storeMounts" -}}
{{- if include "lateen.credentialsSecret" . }}
- {name: store-credentials, mountPath: /etc/lateen/aws, readOnly: true}
{{- end }}
{{- if .Values.caBundle.existingSecret }}
- {name: ca, mountPath: /etc/lateen/ca, readOnly: true}
{{- end }}
{{- end }}

{{- define "lateen.storeVolumes" -}}
{{- with include "lateen.credentialsSecret" . }}
- name: store-credentials
  secret:
    secretName: {{ . }}
    defaultMode: 0440
    items:
      - {key: {{ include "lateen.credentialsKey" $ | quote }}, path: credentials}
{{- end }}
{{- with .Values.caBundle.existingSecret }}
- name: ca
  secret:
    secretName: {{ . }}
    defaultMode: 0440
    items:
      - {key: {{ $.Values.caBundle.key | quote }}, path: ca.crt}
{{- end }}
{{- end }}

{{- define "lateen.spread" -}}
{{- $selector := dict "matchLabels" (include "lateen.selectorLabels" . | fromYaml) -}}
{{- $constraints := .values.topologySpreadConstraints | default (list
  (dict "maxSkew" 1 "topologyKey" "topology.kubernetes.io/zone" "whenUnsatisfiable" "ScheduleAnyway")
  (dict "maxSkew" 1 "topologyKey" "kubernetes.io/hostname" "whenUnsatisfiable" "ScheduleAnyway")) -}}
{{- range $constraints }}
- {{ merge (dict) . (dict "labelSelector" $selector) | toYaml | nindent 2 | trim }}
{{- end }}
{{- end }}

{{- define "lateen.serviceAccount" -}}
{{- if .values.serviceAccount.create -}}
apiVersion: v1
kind: ServiceAccount
{{ include "lateen.metadata" (dict "root" .root "component" .component "name" (include "lateen.serviceAccountName" (dict "root" .root "component" .component "account" .values.serviceAccount)) "annotations" .values.serviceAccount.annotations) }}
automountServiceAccountToken: false
{{- end }}
{{- end }}

{{- define "lateen.service" -}}
{{- $service := .values.service -}}
apiVersion: v1
kind: Service
{{ include "lateen.metadata" (dict "root" .root "component" .component "name" (include "lateen.componentName" .) "annotations" $service.annotations "labels" $service.labels) }}
spec:
  type: {{ $service.type }}
  {{- with $service.loadBalancerClass }}
  loadBalancerClass: {{ . }}
  {{- end }}
  {{- with $service.loadBalancerSourceRanges }}
  loadBalancerSourceRanges:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $service.externalTrafficPolicy }}
  externalTrafficPolicy: {{ . }}
  {{- end }}
  {{- with $service.trafficDistribution }}
  trafficDistribution: {{ . }}
  {{- end }}
  {{- with $service.ipFamilyPolicy }}
  ipFamilyPolicy: {{ . }}
  {{- end }}
  {{- with $service.ipFamilies }}
  ipFamilies:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  selector:
    {{- include "lateen.selectorLabels" . | nindent 4 }}
  ports:
    - name: http
      port: {{ int $service.port }}
      targetPort: http
      {{- with $service.nodePort }}
      nodePort: {{ int . }}
      {{- end }}
{{- end }}

{{- define "lateen.autoscaler" -}}
{{- $scaling := .values.autoscaling -}}
{{- if $scaling.enabled -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
{{ include "lateen.metadata" (dict "root" .root "component" .component "name" (include "lateen.componentName" .)) }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ include "lateen.componentName" . }}
  minReplicas: {{ int $scaling.minReplicas }}
  maxReplicas: {{ int $scaling.maxReplicas }}
  metrics:
    {{- range $resource, $percent := dict "cpu" $scaling.targetCPUUtilizationPercentage "memory" $scaling.targetMemoryUtilizationPercentage }}
    {{- if $percent }}
    - type: Resource
      resource:
        name: {{ $resource }}
        target: {type: Utilization, averageUtilization: {{ int $percent }}}
    {{- end }}
    {{- end }}
  {{- with $scaling.behavior }}
  behavior:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "lateen.disruptionBudget" -}}
{{- $pods := ternary .values.autoscaling.minReplicas .values.replicas .values.autoscaling.enabled -}}
{{- if and .values.podDisruptionBudget.enabled (gt (int $pods) 1) -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
{{ include "lateen.metadata" (dict "root" .root "component" .component "name" (include "lateen.componentName" .)) }}
spec:
  maxUnavailable: {{ .values.podDisruptionBudget.maxUnavailable }}
  # A pod that is not ready serves nobody, so it may always go.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "lateen.selectorLabels" . | nindent 6 }}
{{- end }}
{{- end }}
