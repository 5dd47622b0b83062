{{/* countersign.toml without its keys, which take effect without a restart. JSON's texts, numbers and lists are TOML's. */}}
{{- define "countersign.toml" -}}
{{- $secrets := "/run/secrets/countersign" -}}
{{- $files := dict
      "server" (dict "listen" "0.0.0.0:8001")
      "internal" (dict "listen" "0.0.0.0:8002")
      "secrets" (dict "current_file" (printf "%s/current.secret" $secrets)) -}}
{{- with .Values.issuer.previousSecrets -}}
{{- $paths := list -}}
{{- range . }}{{ $paths = append $paths (printf "%s/%s" $secrets .) }}{{ end -}}
{{- $_ := set $files.secrets "previous_files" $paths -}}
{{- end -}}
{{- $encryption := dict -}}
{{- if .Values.issuer.encryption.enabled -}}
{{- $_ := set $encryption "current_file" (printf "%s/credentials.key" $secrets) -}}
{{- end -}}
{{- with .Values.issuer.encryption.previous -}}
{{- $paths := list -}}
{{- range . }}{{ $paths = append $paths (printf "%s/%s" $secrets .) }}{{ end -}}
{{- $_ := set $encryption "previous_files" $paths -}}
{{- end -}}
{{- if $encryption -}}
{{- $_ := set $files "encryption" $encryption -}}
{{- end -}}
{{- if eq .Values.database.kind "sqlite" -}}
{{- $_ := set $files "database" (dict "url" "sqlite:/var/lib/countersign/issuer.db") -}}
{{- else -}}
{{- $postgres := .Values.database.postgres -}}
{{- $query := list -}}
{{- range $name, $value := $postgres.parameters }}{{ $query = append $query (printf "%s=%s" $name (urlquery $value)) }}{{ end -}}
{{- $url := printf "postgres://%s@%s:%v/%s" $postgres.user $postgres.host $postgres.port $postgres.name -}}
{{- if $query }}{{ $url = printf "%s?%s" $url (join "&" $query) }}{{ end -}}
{{- $_ := set $files "database" (dict "url" $url "password_file" (printf "%s/database.password" $secrets)) -}}
{{- end -}}
{{- if dig "mail" "username" "" .Values.issuer.settings -}}
{{- $_ := set $files "mail" (dict "password_file" (printf "%s/mail.password" $secrets)) -}}
{{- end -}}
{{- $sections := mergeOverwrite (deepCopy .Values.issuer.settings) $files -}}
{{- range $section, $keys := $sections -}}
[{{ $section }}]
{{ range $key, $value := $keys -}}
{{ if eq $section "roles" }}{{ toRawJson $key }}{{ else }}{{ $key }}{{ end }} = {{ toRawJson $value }}
{{ end }}
{{ end -}}
{{- end -}}
