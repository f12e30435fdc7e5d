{{/* An impossible installation ends here, with a sentence. */}}
{{- define "lateen.validated" -}}
{{- $values := .Values -}}
{{- $_ := include "lateen.bucket" . -}}
{{- if and $values.localStores.enabled (or $values.stores.dynamodb.endpoint $values.stores.s3.endpoint $values.stores.credentials.existingSecret $values.functions.roleArn $values.functions.credentials.existingSecret) -}}
{{- fail "localStores.enabled: stores of your own are configured (stores, functions.roleArn, functions.credentials), so set it to false" -}}
{{- end -}}
{{/* An upgrade that was not given all values would meet an empty table, take every function for deleted, and end its pods. */}}
{{- if and .Release.IsUpgrade (not $values.stores.allowChange) -}}
{{- with (lookup "v1" "ConfigMap" .Release.Namespace (include "lateen.fullname" .)).data -}}
{{- $now := . -}}
{{- $wanted := include "lateen.storeEnvironment" $ | fromYaml -}}
{{- range $name := list "AWS_REGION" "DYNAMODB_TABLE_NAME" "AWS_ENDPOINT_URL_DYNAMODB" "S3_BUCKET_NAME" "AWS_ENDPOINT_URL_S3" -}}
{{- if ne (toString (get $now $name)) (toString (get $wanted $name)) -}}
{{- fail (printf "stores: the release has %s=%q, and would get %q; functions that the new stores don't have end. Were all values given? stores.allowChange=true does it" $name (toString (get $now $name)) (toString (get $wanted $name))) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{/* The controller would make everything once more in the new namespaces, and leave what is in the old ones. */}}
{{- if and .Release.IsUpgrade (not $values.functions.allowNamespaceChange) -}}
{{- with (lookup "v1" "ConfigMap" .Release.Namespace (printf "%s-functions" (include "lateen.fullname" .))).data -}}
{{- $now := include "lateen.namespacesOf" (get . "functions.json" | fromJson) -}}
{{- $wanted := include "lateen.namespacesOf" (include "lateen.functionsConfig" $ | fromYaml) -}}
{{- if ne $now $wanted -}}
{{- fail (printf "functions.namespace, functions.namespacePrefix: the release's functions run in %s, and would be made once more in %s; those that are there would stay and go on answering. Were all values given? functions.allowNamespaceChange=true does it" $now $wanted) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $values.functions.roleArn $values.functions.credentials.existingSecret -}}
{{- fail "functions.roleArn and functions.credentials.existingSecret: give one of them" -}}
{{- end -}}
{{/* Both tokens are of one service account, so only the audience keeps user code from the invokers' role. */}}
{{- $roles := $values.functions.roles -}}
{{- $annotations := $values.functions.serviceAccountAnnotations -}}
{{- $invokers := list -}}
{{- if $values.functions.roleArn -}}
{{- $invokers = append $invokers "sts.amazonaws.com" -}}
{{- end -}}
{{- if hasKey $annotations "eks.amazonaws.com/role-arn" -}}
{{- $invokers = append $invokers (get $annotations "eks.amazonaws.com/audience" | default "sts.amazonaws.com") -}}
{{- end -}}
{{- if and $roles.enabled (has $roles.audience $invokers) -}}
{{- fail (printf "functions.roles.audience: %s is the audience of the invokers' own token, by which user code could take on their role; choose another one" $roles.audience) -}}
{{- end -}}
{{- if and $roles.enabled (hasPrefix "https://kubernetes.default" $roles.audience) -}}
{{- fail (printf "functions.roles.audience: %s is what the API server takes tokens for, so user code could sign in there; choose another one" $roles.audience) -}}
{{- end -}}
{{- if and $values.worker.enabled (not $values.localStores.enabled) (not $values.queue.redis.existingSecret) -}}
{{- fail "queue.redis.existingSecret: name the Secret with the URL of the Redis that holds asynchronous invocations, or do without them (worker.enabled=false)" -}}
{{- end -}}
{{- if and $values.localStores.enabled $values.queue.redis.existingSecret -}}
{{- fail "localStores.enabled: a Redis of your own is configured (queue.redis.existingSecret), so set it to false" -}}
{{- end -}}
{{- range $component := list "api" "gateway" "controller" "worker" -}}
{{- $scaling := (get $values $component).autoscaling -}}
{{- if and $scaling.enabled (gt (int $scaling.minReplicas) (int $scaling.maxReplicas)) -}}
{{- fail (printf "%s.autoscaling: minReplicas is above maxReplicas" $component) -}}
{{- end -}}
{{- if and $scaling.enabled (not $scaling.targetCPUUtilizationPercentage) (not $scaling.targetMemoryUtilizationPercentage) -}}
{{- fail (printf "%s.autoscaling: it needs a target for CPU or memory" $component) -}}
{{- end -}}
{{- end -}}
{{- range $route := list $values.httpRoute $values.functions.httpRoute -}}
{{- if and $route.enabled (not $route.parentRefs) (not $values.httpRoute.parentRefs) -}}
{{- fail "httpRoute.parentRefs: name the Gateway to attach to" -}}
{{- end -}}
{{- end -}}
{{- if not (get $values.functions.runtimes $values.tests.runtime) -}}
{{- if $values.tests.enabled -}}
{{- fail (printf "tests.runtime: functions.runtimes has no '%s'" $values.tests.runtime) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Of functions.json: where functions run, as FunctionsConfig.namespace_of has it. */}}
{{- define "lateen.namespacesOf" -}}
{{- .functionsNamespace | default (printf "%s*" (.namespacePrefix | default (printf "%s-" .release))) -}}
{{- end }}
