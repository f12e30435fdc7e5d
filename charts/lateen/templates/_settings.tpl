{{/* What the processes are told: environment variables, volumes, and the document about functions. */}}

{{- define "lateen.table" -}}
{{- .Values.stores.dynamodb.table | default (include "lateen.fullname" .) -}}
{{- end }}

{{- define "lateen.bucket" -}}
{{- if .Values.localStores.enabled -}}
{{- .Values.stores.s3.bucket | default "lateen" -}}
{{- else -}}
{{- required "stores.s3.bucket: name the bucket, or run stores in the cluster for a trial (localStores.enabled=true)" .Values.stores.s3.bucket -}}
{{- end -}}
{{- end }}

{{/* YAML of a dict: what platform and invokers need to know to reach the stores. */}}
{{- define "lateen.storeEnvironment" -}}
{{- $stores := .Values.stores -}}
{{- $env := dict "AWS_REGION" $stores.region "DYNAMODB_TABLE_NAME" (include "lateen.table" .) "S3_BUCKET_NAME" (include "lateen.bucket" .) -}}
{{- if .Values.localStores.enabled -}}
{{- $_ := set $env "AWS_ENDPOINT_URL_DYNAMODB" (printf "http://%s:8000" (include "lateen.serviceHost" (dict "root" . "component" "dynamodb"))) -}}
{{- $_ := set $env "AWS_ENDPOINT_URL_S3" (printf "http://%s:7070" (include "lateen.serviceHost" (dict "root" . "component" "s3"))) -}}
{{- $_ := set $env "LATEEN_S3_PATH_STYLE" "true" -}}
{{- else -}}
{{- with $stores.dynamodb.endpoint }}{{ $_ := set $env "AWS_ENDPOINT_URL_DYNAMODB" . }}{{ end -}}
{{- with $stores.s3.endpoint }}{{ $_ := set $env "AWS_ENDPOINT_URL_S3" . }}{{ end -}}
{{- if $stores.s3.pathStyle }}{{ $_ := set $env "LATEEN_S3_PATH_STYLE" "true" }}{{ end -}}
{{- end -}}
{{- if or .Values.proxy.http .Values.proxy.https -}}
{{- with .Values.proxy.http }}{{ $_ := set $env "HTTP_PROXY" . }}{{ end -}}
{{- with .Values.proxy.https }}{{ $_ := set $env "HTTPS_PROXY" . }}{{ end -}}
{{- $near := list "localhost" "127.0.0.1" "kubernetes.default.svc" (printf ".svc.%s" .Values.clusterDomain) (printf ".svc.%s." .Values.clusterDomain) -}}
{{- $_ := set $env "NO_PROXY" (concat $near .Values.proxy.noProxy | join ",") -}}
{{- end -}}
{{- toYaml $env -}}
{{- end }}

{{/* YAML of a dict: what the ConfigMap says to every process of the platform, and hooks say themselves. */}}
{{- define "lateen.environment" -}}
{{- $env := include "lateen.storeEnvironment" . | fromYaml -}}
{{- $_ := set $env "ENVIRONMENT" .Values.environment -}}
{{- $_ := set $env "LOG_LEVEL" .Values.logLevel -}}
{{- $_ := set $env "LATEEN_LOG_FORMAT" .Values.logFormat -}}
{{- $_ := set $env "LATEEN_SECRETS" "/etc/lateen/secrets" -}}
{{- $_ := set $env "LATEEN_FUNCTIONS_CONFIG" "/etc/lateen/functions/functions.json" -}}
{{- $_ := set $env "LATEEN_HOST" .Values.listenAddress -}}
{{- $_ := set $env "LATEEN_URL" (include "lateen.url" .) -}}
{{- $_ := set $env "LATEEN_HOSTS" (include "lateen.hosts" .) -}}
{{- $_ := set $env "LATEEN_RETENTION_DAYS" (.Values.retentionDays | int | toString) -}}
{{- $_ := set $env "LATEEN_DRAIN_SECONDS" (.Values.drainSeconds | int | toString) -}}
{{- $_ := set $env "LATEEN_DRAIN_LAG_SECONDS" (.Values.drainLagSeconds | int | toString) -}}
{{- if .Values.worker.enabled -}}
{{- $_ := set $env "WORKER_CONCURRENCY" (.Values.worker.concurrency | int | toString) -}}
{{- $_ := set $env "LATEEN_QUEUE_WORKSPACE_MIB" (.Values.queue.workspaceMib | int | toString) -}}
{{- if .Values.localStores.enabled -}}
{{- $_ := set $env "LATEEN_REDIS_URL" (printf "redis://%s:6379/0" (include "lateen.serviceHost" (dict "root" . "component" "redis"))) -}}
{{- $_ := set $env "LATEEN_REDIS_PASSWORD_FILE" "/etc/lateen/redis/password" -}}
{{- else -}}
{{- $_ := set $env "LATEEN_REDIS_URL_FILE" "/etc/lateen/redis/url" -}}
{{- end -}}
{{- end -}}
{{- with .Values.corsOrigins }}{{ $_ := set $env "CORS_ORIGINS" (join "," .) }}{{ end -}}
{{- with .Values.trustedProxies }}{{ $_ := set $env "LATEEN_TRUSTED_PROXIES" (join "," .) }}{{ end -}}
{{- if include "lateen.credentialsSecret" . }}{{ $_ := set $env "AWS_SHARED_CREDENTIALS_FILE" "/etc/lateen/aws/credentials" }}{{ end -}}
{{- if .Values.caBundle.existingSecret }}{{ $_ := set $env "AWS_CA_BUNDLE" "/etc/lateen/ca/ca.crt" }}{{ end -}}
{{- toYaml $env -}}
{{- end }}

{{/* What functions' URLs begin with. */}}
{{- define "lateen.url" -}}
{{- if .Values.url -}}
{{- .Values.url -}}
{{- else if and .Values.ingress.enabled .Values.ingress.hosts -}}
{{- printf "%s://%s" (ternary "https" "http" (gt (len .Values.ingress.tls) 0)) (first .Values.ingress.hosts) -}}
{{- else if and .Values.httpRoute.enabled .Values.httpRoute.hostnames -}}
{{- printf "https://%s" (first .Values.httpRoute.hostnames) -}}
{{- else -}}
{{- printf "http://%s:%d" (include "lateen.serviceHost" (dict "root" . "component" "gateway")) (int .Values.gateway.service.port) -}}
{{- end -}}
{{- end }}

{{/* The host names by which the management API may be addressed. */}}
{{- define "lateen.hosts" -}}
{{- $service := printf "%s-api" (include "lateen.fullname" .) -}}
{{- $inside := printf "%s.%s" $service .Release.Namespace -}}
{{- $hosts := list $service $inside (printf "%s.svc" $inside) (printf "%s.svc.%s" $inside .Values.clusterDomain) -}}
{{- if .Values.ingress.enabled }}{{ $hosts = concat $hosts .Values.ingress.hosts }}{{ end -}}
{{- if .Values.httpRoute.enabled }}{{ $hosts = concat $hosts .Values.httpRoute.hostnames }}{{ end -}}
{{- concat $hosts .Values.hosts | uniq | join "," -}}
{{- end }}

{{/* Secret with the platform's AWS credentials file; empty: the standard chain. */}}
{{- define "lateen.credentialsSecret" -}}
{{- if .Values.localStores.enabled -}}
{{- include "lateen.localStores.secretName" . -}}
{{- else -}}
{{- .Values.stores.credentials.existingSecret -}}
{{- end -}}
{{- end }}

{{/* Secret by which the queue's Redis is reached; empty: there is no worker. */}}
{{- define "lateen.redisSecret" -}}
{{- if .Values.worker.enabled -}}
{{- if .Values.localStores.enabled -}}
{{- include "lateen.localStores.secretName" . -}}
{{- else -}}
{{- .Values.queue.redis.existingSecret -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "lateen.credentialsKey" -}}
{{- ternary .Values.localStores.auth.keys.credentials .Values.stores.credentials.key .Values.localStores.enabled -}}
{{- end }}

{{/* The same for functions' invokers. */}}
{{- define "lateen.functionCredentialsSecret" -}}
{{- if .Values.localStores.enabled -}}
{{- include "lateen.localStores.secretName" . -}}
{{- else -}}
{{- .Values.functions.credentials.existingSecret -}}
{{- end -}}
{{- end }}

{{- define "lateen.functionCredentialsKey" -}}
{{- ternary .Values.localStores.auth.keys.credentials .Values.functions.credentials.key .Values.localStores.enabled -}}
{{- end }}

{{/* YAML of a list: the secrets that the controller copies; each has name, type, secret, items. */}}
{{- define "lateen.copiedSecrets" -}}
{{- $root := . -}}
{{- $copied := list -}}
{{- with include "lateen.functionCredentialsSecret" . -}}
{{- $copied = append $copied (dict "folder" "store-credentials" "type" "Opaque" "secret" . "name" (include "lateen.copiedName" (dict "root" $root "what" "store-credentials")) "items" (list (dict "key" (include "lateen.functionCredentialsKey" $root) "path" "credentials"))) -}}
{{- end -}}
{{- with .Values.caBundle.existingSecret -}}
{{- $copied = append $copied (dict "folder" "ca" "type" "Opaque" "secret" . "name" (include "lateen.copiedName" (dict "root" $root "what" "ca")) "items" (list (dict "key" $root.Values.caBundle.key "path" "ca.crt"))) -}}
{{- end -}}
{{- range $index, $secret := .Values.global.imagePullSecrets -}}
{{- $copied = append $copied (dict "folder" (printf "pull-%d" $index) "type" "kubernetes.io/dockerconfigjson" "secret" $secret "name" (include "lateen.copiedName" (dict "root" $root "what" (printf "pull-%d" $index))) "items" (list (dict "key" ".dockerconfigjson" "path" ".dockerconfigjson"))) -}}
{{- end -}}
{{- toYaml $copied -}}
{{- end }}

{{/* Where the controller finds a copied secret's files. */}}
{{- define "lateen.copiedFolder" -}}
{{- printf "/etc/lateen/copied/%s" . -}}
{{- end }}

{{/* YAML of a dict: functions.json, as lateen.adapters.kubernetes.config reads it. */}}
{{- define "lateen.functionsConfig" -}}
{{- $root := . -}}
{{- $f := .Values.functions -}}
{{- $runtimes := dict -}}
{{- $builds := dict -}}
{{- range $name, $runtime := $f.runtimes -}}
{{- if ne (toString $runtime.enabled) "false" -}}
{{- $_ := set $runtimes $name (include "lateen.functionImage" (dict "root" $root "image" $runtime.image "name" $name)) -}}
{{- $build := $runtime.build | default dict -}}
{{- if $build.enabled -}}
{{- $_ := set $builds $name (include "lateen.functionImage" (dict "root" $root "image" $build.image "name" (printf "%s-build" $name))) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $stores := dict "environment" (include "lateen.storeEnvironment" . | fromYaml) "serviceAccountAnnotations" $f.serviceAccountAnnotations -}}
{{- if include "lateen.functionCredentialsSecret" . }}{{ $_ := set $stores "credentialsSecret" (include "lateen.copiedName" (dict "root" . "what" "store-credentials")) }}{{ end -}}
{{- with $f.roleArn }}{{ $_ := set $stores "roleArn" . }}{{ end -}}
{{- if .Values.caBundle.existingSecret }}{{ $_ := set $stores "caSecret" (include "lateen.copiedName" (dict "root" . "what" "ca")) }}{{ end -}}
{{- $copied := list -}}
{{- $pullSecrets := list -}}
{{- range include "lateen.copiedSecrets" . | fromYamlArray -}}
{{- $copied = append $copied (dict "name" .name "type" .type "folder" (include "lateen.copiedFolder" .folder)) -}}
{{- if hasPrefix "pull-" .folder }}{{ $pullSecrets = append $pullSecrets .name }}{{ end -}}
{{- end -}}
{{- $egress := $f.network.egress.extra -}}
{{- if .Values.localStores.enabled -}}
{{- range $component, $port := dict "dynamodb" 8000 "s3" 7070 -}}
{{- $peer := dict "namespaceSelector" (dict "matchLabels" (dict "kubernetes.io/metadata.name" $root.Release.Namespace)) "podSelector" (dict "matchLabels" (include "lateen.selectorLabels" (dict "root" $root "component" $component) | fromYaml)) -}}
{{- $egress = append $egress (dict "to" (list $peer) "ports" (list (dict "protocol" "TCP" "port" $port))) -}}
{{- end -}}
{{- end -}}
{{- $network := dict "policies" $f.network.policies "platformSelector" (include "lateen.platformPeer" . | fromYaml) "egress" (dict "internet" $f.network.egress.internet "ipv6" $f.network.egress.ipv6 "extra" $egress "blocked" $f.network.egress.blocked "dns" (include "lateen.dnsPeer" . | fromYaml) "dnsPorts" $f.network.egress.dnsPorts) -}}
{{- with include "lateen.monitoringPeer" . | fromYaml }}{{ $_ := set $network "monitoringSelector" . }}{{ end -}}
{{- $podAnnotations := $f.podAnnotations -}}
{{- if .Values.metrics.annotations }}{{ $podAnnotations = merge (dict) $podAnnotations (include "lateen.scrapeAnnotations" . | fromYaml) }}{{ end -}}
{{- $pods := dict
  "nodeSelector" $f.nodeSelector
  "tolerations" $f.tolerations
  "affinity" $f.affinity
  "topologySpreadConstraints" $f.topologySpreadConstraints
  "labels" (merge (dict) $f.podLabels .Values.commonLabels)
  "annotations" $podAnnotations
  "imagePullSecrets" $pullSecrets
  "invokerResources" $f.invoker.resources
  "firstUserId" (int $f.firstUserId)
  "userIds" (int $f.userIds)
  "requestRatio" $f.requestRatio
  "mibPerCpu" (int $f.mibPerCpu)
  "tmpMib" (int $f.tmpMib) -}}
{{- with $f.priorityClassName }}{{ $_ := set $pods "priorityClassName" . }}{{ end -}}
{{- with $f.runtimeClassName }}{{ $_ := set $pods "runtimeClassName" . }}{{ end -}}
{{- $config := dict
  "release" (include "lateen.clusterName" .)
  "namespace" .Release.Namespace
  "clusterDomain" .Values.clusterDomain
  "namespacePrefix" $f.namespacePrefix
  "drainLagS" (int .Values.drainLagSeconds)
  "images" (dict "invoker" (include "lateen.functionImage" (dict "root" . "image" $f.invoker.image "name" "invoker")) "runtimes" $runtimes "builds" $builds "pullPolicy" $f.pullPolicy)
  "functionImages" (dict "enabled" $f.images.enabled "allowed" $f.images.allowed)
  "stores" $stores
  "roles" (dict "enabled" $f.roles.enabled "audience" $f.roles.audience)
  "network" $network
  "copiedSecrets" $copied
  "builds" (dict "deadlineS" (int $f.builds.deadlineSeconds) "cpu" (toString $f.builds.cpu) "memory" (toString $f.builds.memory) "diskMib" (int $f.builds.diskMib) "atATime" (int $f.builds.atATime) "egress" $f.builds.egress)
  "disruptionBudget" (dict "enabled" $f.podDisruptionBudget.enabled "maxUnavailable" $f.podDisruptionBudget.maxUnavailable)
  "pods" $pods -}}
{{- with $f.namespace }}{{ $_ := set $config "functionsNamespace" . }}{{ end -}}
{{- $ingress := dict "enabled" false -}}
{{- if $f.ingress.enabled -}}
{{- $ingress = dict "enabled" true "annotations" $f.ingress.annotations -}}
{{- with $f.ingress.className | default .Values.ingress.className }}{{ $_ := set $ingress "className" . }}{{ end -}}
{{- with $f.ingress.host | default (first .Values.ingress.hosts) }}{{ $_ := set $ingress "host" . }}{{ end -}}
{{- with $f.ingress.tlsSecret }}{{ $_ := set $ingress "tlsSecret" . }}{{ end -}}
{{- end -}}
{{- $_ := set $config "ingress" (set $ingress "controllerSelector" (include "lateen.ingressPeer" . | fromYaml)) -}}
{{- if $f.httpRoute.enabled -}}
{{- $_ := set $config "httpRoute" (dict "enabled" true "parentRefs" ($f.httpRoute.parentRefs | default .Values.httpRoute.parentRefs) "hostnames" ($f.httpRoute.hostnames | default .Values.httpRoute.hostnames)) -}}
{{- end -}}
{{/* Helm leaves a null away, and without a word the platform has limits of its own. */}}
{{- $limits := dict "pods" nil "functions" nil -}}
{{- with $f.limits.functions }}{{ $_ := set $limits "functions" (int .) }}{{ end -}}
{{- with $f.limits.pods }}{{ $_ := set $limits "pods" (int .) }}{{ end -}}
{{- with $f.limits.cpu }}{{ $_ := set $limits "cpu" (toString .) }}{{ end -}}
{{- with $f.limits.memory }}{{ $_ := set $limits "memory" (toString .) }}{{ end -}}
{{- $_ := set $config "workspaceLimits" $limits -}}
{{- toYaml $config -}}
{{- end }}

{{- define "lateen.scrapeAnnotations" -}}
prometheus.io/scrape: "true"
prometheus.io/port: "9090"
prometheus.io/path: /metrics
{{- end }}
