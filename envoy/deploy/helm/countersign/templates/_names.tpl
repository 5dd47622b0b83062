{{- define "countersign.name" -}}
{{- .Values.fullnameOverride | default .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "countersign.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* What pods are selected by. Called with (list $ "issuer"). */}}
{{- define "countersign.selector" -}}
{{- $ := index . 0 -}}
app.kubernetes.io/name: countersign
app.kubernetes.io/instance: {{ $.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* Called with (list $ "issuer"). */}}
{{- define "countersign.metadata" -}}
{{- $ := index . 0 -}}
name: {{ include "countersign.name" $ }}-{{ index . 1 }}
namespace: {{ $.Release.Namespace }}
labels:
  {{- include "countersign.selector" . | nindent 2 }}
  {{- include "countersign.labels" $ | nindent 2 }}
{{- end -}}

{{- define "countersign.image" -}}
{{- $ := index . 0 -}}
{{- $image := index . 1 -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "countersign.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{- define "countersign.containerSecurity" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: { drop: [ALL] }
{{- end -}}

{{/* Where pods run, and that not all of them run on one node. Called with (list $ "issuer" .Values.issuer). */}}
{{- define "countersign.placement" -}}
{{- $part := index . 2 -}}
{{- with $part.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with $part.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with $part.affinity }}
affinity: {{ toYaml . | nindent 2 }}
{{- end }}
{{- if gt (int $part.replicas) 1 }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{ include "countersign.selector" . | nindent 8 }}
{{- end }}
{{- end -}}

{{/* The name of the Secret with the issuer's secrets. */}}
{{- define "countersign.secret" -}}
{{- .Values.secret.existing | default (printf "%s-issuer" (include "countersign.name" .)) -}}
{{- end -}}

{{/* The issuer as others in the cluster name it. */}}
{{- define "countersign.issuerHost" -}}
{{ include "countersign.name" . }}-issuer.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}
{{- end -}}

{{/* The entries that the issuer's configuration names in the secret, as a JSON list. */}}
{{- define "countersign.secretEntries" -}}
{{- $entries := list "current.secret" -}}
{{- $entries = concat $entries .Values.issuer.previousSecrets -}}
{{- if .Values.issuer.encryption.enabled -}}
{{- $entries = append $entries "credentials.key" -}}
{{- end -}}
{{- $entries = concat $entries .Values.issuer.encryption.previous -}}
{{- if eq .Values.database.kind "postgres" -}}
{{- $entries = append $entries "database.password" -}}
{{- end -}}
{{- if dig "mail" "username" "" .Values.issuer.settings -}}
{{- $entries = append $entries "mail.password" -}}
{{- end -}}
{{- range .Values.issuer.keys -}}
{{- if not .revoked -}}
{{- $entries = append $entries (printf "%s.pem" .kid) -}}
{{- end -}}
{{- end -}}
{{- toJson $entries -}}
{{- end -}}
