{{/* What values.schema.json cannot say: what must not come together. Included once, by the issuer's configuration. */}}
{{- define "countersign.checks" -}}
{{- $settings := .Values.issuer.settings -}}
{{- $url := dig "server" "public_url" "" $settings -}}
{{- if not $url -}}
{{- fail "issuer.settings.server.public_url is required: where clients reach the edge, such as https://login.example.com" -}}
{{- end -}}
{{- if and (not (hasPrefix "https://" $url)) (dig "cookies" "secure" true $settings) -}}
{{- fail "issuer.settings.server.public_url is not https, so browsers would keep no refresh cookie: make it https, or set issuer.settings.cookies.secure to false" -}}
{{- end -}}
{{- if not (dig "server" "trusted_proxies" list $settings) -}}
{{- fail "issuer.settings.server.trusted_proxies is required: the network of the edge's pods, such as [\"10.244.0.0/16\"]. Without it all clients have one address, and lock each other out" -}}
{{- end -}}
{{- if not .Values.issuer.keys -}}
{{- fail "issuer.keys is required: no key would sign, and nobody could log in. `countersign keys generate` makes one" -}}
{{- end -}}
{{- if eq .Values.database.kind "sqlite" -}}
{{- if gt (int .Values.issuer.replicas) 1 -}}
{{- fail "issuer.replicas must be 1 with database.kind sqlite: a file has one issuer. Several share a PostgreSQL database" -}}
{{- end -}}
{{- if ne .Values.issuer.strategy "Recreate" -}}
{{- fail "issuer.strategy must be Recreate with database.kind sqlite: two issuers would have one file" -}}
{{- end -}}
{{- else if not .Values.database.postgres.host -}}
{{- fail "database.postgres.host is required with database.kind postgres" -}}
{{- end -}}
{{- if and .Values.secret.existing .Values.secret.files -}}
{{- fail "secret.existing and secret.files are both set: give one of them" -}}
{{- end -}}
{{- if not (or .Values.secret.existing .Values.secret.files) -}}
{{- fail (printf "secret.existing is required: a Secret with the entries %s (or secret.files)" (include "countersign.secretEntries" . | fromJsonArray | join ", ")) -}}
{{- end -}}
{{- if .Values.secret.files -}}
{{- $files := .Values.secret.files -}}
{{- range include "countersign.secretEntries" . | fromJsonArray -}}
{{- if not (get $files .) -}}
{{- fail (printf "secret.files has no %s, which the configuration needs" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $kms := dig "encryption" "kms_key" "" .Values.issuer.settings -}}
{{- if and .Values.issuer.encryption.enabled $kms -}}
{{- fail "issuer.encryption.enabled and issuer.settings.encryption.kms_key: one key protects credentials. Name the file in issuer.encryption.previous to move to AWS KMS" -}}
{{- end -}}
{{- if and .Values.issuer.encryption.previous (not (or .Values.issuer.encryption.enabled $kms)) -}}
{{- fail "issuer.encryption.previous is set, and issuer.encryption.enabled is false: what they protect could not be read" -}}
{{- end -}}
{{- if .Values.networkPolicy.enabled -}}
{{- if and (ne .Values.edge.mode "gateway") (not .Values.networkPolicy.edges) -}}
{{- fail (printf "networkPolicy.edges is required with edge.mode %s: the pods that reach the issuer. Otherwise nobody does" .Values.edge.mode) -}}
{{- end -}}
{{- if and .Values.monitoring.enabled (not .Values.networkPolicy.prometheus) -}}
{{- fail "networkPolicy.prometheus is required with monitoring.enabled: who scrapes the metrics. Otherwise nobody could" -}}
{{- end -}}
{{- end -}}
{{- end -}}
